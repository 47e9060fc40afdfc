"""`mmkit.crf_tagger.v1`: tags words with a linear-chain conditional random field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from mmkit.batch import Features, States
from mmkit.data.types import Entity
from mmkit.decoders.base import LabelAxes, Labels
from mmkit.decoders.crf import LinearChainCRF
from mmkit.decoders.tagger import Tagger, check_first
from mmkit.decoders.tagging import Scheme, bio_constraints


class CrfTagger(Tagger):
    """Tags words with a linear-chain conditional random field; spans are scored by its marginals.

    `text` names the text encoder, `types` the span types in label order (default: those of the training data,
    sorted). `subwords` can only be "first": words are tagged by their first subword (see `Tagger`). With
    `constraints`, only well-formed tag sequences have a probability.

    Loss `nll`: the negative log-likelihood of a sentence's tags, mean over sentences.
    """

    crf: LinearChainCRF

    def __init__(
        self,
        text: str = "text",
        *,
        scheme: Scheme = "bio",
        types: list[str] | None = None,
        subwords: Literal["first"] = "first",
        dropout: float = 0.1,
        constraints: bool = False,
    ) -> None:
        check_first(subwords)
        super().__init__(text, scheme=scheme, types=types, dropout=dropout)
        self.constraints = constraints

    @property
    def captures(self) -> bool | str:
        return True

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        super().build(dims, labels, entities)
        allowed = bio_constraints(self.tags.names, self.scheme) if self.constraints else None
        self.crf = LinearChainCRF(len(self.tags), allowed)

    def label_axes(self) -> Mapping[str, LabelAxes] | None:
        axes = super().label_axes()
        if axes is None:
            return None
        own: dict[str, LabelAxes] = {
            "crf.start_transitions": ("tags",),
            "crf.end_transitions": ("tags",),
            "crf.transitions": ("tags", "tags"),
        }
        return {**axes, **own}

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        emissions, mask = self.emissions(states)
        return {"nll": -self.crf.log_likelihood(emissions, targets["tags"], mask).mean()}

    def tag(self, emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The best tag sequence (Viterbi) and the log-marginals of its tags."""
        tags, _ = self.crf.viterbi(emissions, mask)
        log_marginals = self.crf.log_marginals(emissions, mask)
        return tags, log_marginals.gather(2, tags.clamp(min=0).unsqueeze(2)).squeeze(2)
