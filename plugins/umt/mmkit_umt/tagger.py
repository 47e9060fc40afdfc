"""`umt.span_aided_tagger.v1`: a CRF tagger of subwords, helped by a second one for spans without types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmkit.batch import Features, States
from mmkit.data.types import Entity, Example
from mmkit.decoders.base import LabelAxes, Labels
from mmkit.decoders.crf import LinearChainCRF
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.subword_tags import CLS, PAD, SEP, SubwordTags, X
from mmkit.decoders.tagging import TagSet
from mmkit_umt.layers import start

SPAN_TAGS = (PAD, "O", "B", "I", X, CLS, SEP)
"""The tags of span detection, in the order of the authors' layer."""


class SpanAidedTagger(SubwordTags, CrfTagger):
    """Tags every subword with a linear-chain CRF over its emissions plus those of a span detector.

    Yu et al., ACL 2020, section 2.4. The span detector reads the state `auxiliary`, from the text alone, and has tags
    without types (`SPAN_TAGS`) and its own CRF. A fixed matrix turns its scores s into scores of the main tags:
    emissions are ½ e + ½ s C, where the scores of B and I are split equally over the tags of all types. Only the main
    CRF decides.

    Subwords have the tags of `SubwordTags`; entities are read from first subwords.

    Losses, each the negative log-likelihood of a sentence's tags, mean over sentences: `nll` of the main CRF,
    `span_nll` of the span detector's. The authors weight them 1 to 0.5: `[training] loss_weights = {"span_nll": 0.5}`.

    Args:
        text: the text encoder's name in the recipe.
        types: entity types in label order; None: those of the training data, sorted.
        initializer_range: standard deviation of the initial weights, called as in BERT's configuration.
    """

    captures = True
    requires: frozenset[str] = CrfTagger.requires | {"auxiliary"}

    main_to_span: Tensor
    conversion: Tensor

    def __init__(
        self, text: str = "text", *, types: list[str] | None = None, initializer_range: float = 0.02
    ) -> None:
        super().__init__(text, types=types, dropout=0.0)
        if initializer_range <= 0:
            raise ValueError(f"initializer_range must be above 0, not {initializer_range}")
        self.initializer_range = initializer_range

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        super().build(dims, labels, entities)
        self.span_linear = torch.nn.Linear(dims["auxiliary"], len(SPAN_TAGS))
        self.span_crf = LinearChainCRF(len(SPAN_TAGS))
        self.main_to_span = span_tags(self.tags)
        self.register_buffer("conversion", conversion(self.main_to_span), persistent=False)
        start(self, self.initializer_range)

    def label_axes(self) -> Mapping[str, LabelAxes] | None:
        own: dict[str, LabelAxes] = {
            "span_linear.weight": (None, None),
            "span_linear.bias": (None,),
            "span_crf.start_transitions": (None,),
            "span_crf.end_transitions": (None,),
            "span_crf.transitions": (None, None),
        }
        return {**(super().label_axes() or {}), **own}

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """`tags [B, T]` and `span_tags [B, T]` of all subwords, [PAD] for none."""
        targets = super().targets(examples, inputs)
        return {**targets, "span_tags": self.main_to_span[targets["tags"]]}

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        spans, mask = self.span_emissions(states)
        emissions = self._converted(states, spans)
        return {
            "nll": -self.crf.log_likelihood(emissions, targets["tags"], mask).mean(),
            "span_nll": -self.span_crf.log_likelihood(spans, targets["span_tags"], mask).mean(),
        }

    def emissions(self, states: States) -> tuple[Tensor, Tensor]:
        """Scores of the main tags, with those of the span detector added, and their mask: `[B, T, K]`, `[B, T]`."""
        spans, mask = self.span_emissions(states)
        return self._converted(states, spans), mask

    def span_emissions(self, states: States) -> tuple[Tensor, Tensor]:
        """Scores of `SPAN_TAGS` and their mask: `[B, T, 7]`, `[B, T]`."""
        return self.span_linear(states["auxiliary"]), states["mask"].bool()

    def _converted(self, states: States, spans: Tensor) -> Tensor:
        tags: Tensor = self.linear(states["tokens"])
        return 0.5 * tags + 0.5 * (spans @ self.conversion.to(spans.dtype))


def span_tags(tags: TagSet) -> Tensor:
    """The span tag of each main tag, `[K]`: its first letter, except for the four special ones."""
    return torch.tensor([SPAN_TAGS.index(name if name in SPAN_TAGS else name[0]) for name in tags.names])


def conversion(main_to_span: Tensor) -> Tensor:
    """The matrix C `[7, K]`: a span tag's score is split equally over its main tags."""
    belongs = main_to_span == torch.arange(len(SPAN_TAGS)).unsqueeze(1)
    return belongs / belongs.sum(1, keepdim=True)
