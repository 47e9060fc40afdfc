"""`more.mixture_tagger.v1`: tags sentences by a mixture of trained CRF taggers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkit.batch import Batch, Features, States
from mmkit.data.problems import Problem
from mmkit.data.types import Entity, Example, Prediction
from mmkit.decoders.base import Decoder, LabelAxes, Labels, label_names
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.examined import overlap_problems, type_problems
from mmkit.decoders.tagger import predicted_spans
from mmkit.decoders.tagging import TagSet, learn_types, padded
from mmkit.encoders.base import Encoder
from mmkit.errors import RecipeError
from mmkit.tasks import SpanTask, Task
from mmkit_more.crf_mixture import CrfMixture
from mmkit_more.experts import check_data, check_known, check_names, decoders_of
from mmkit_more.mixture import gates


class MixtureTagger(Decoder):
    """Tags sentences by p(y) = Σₖ λₖ pₖ(y) over whole tag sequences (MoRe; Wang et al., 2022).

    The weights λ are those of `more.mixture.v1`, the pₖ the CRFs of trained runs (`mmkit.run.v1`), which must have
    the same tags. The n best sequences of each expert are scored under the mixture, and the most probable wins
    (`proven` says whether it is the best of all); spans are scored by the mixture's marginals. A word that one
    expert's length limit cut off is tagged by neither, and predicted as O.

    Loss `nll`: −log Σₖ λₖ pₖ(gold), exact, mean over sentences.

    Args:
        experts: names of the encoders in the recipe, as in the fuser.
        n_best: number of sequences that each expert proposes.
    """

    captures = "its experts give scores of another number of words in each batch"
    task: Task = SpanTask()

    tags: TagSet

    def __init__(self, experts: tuple[str, ...] = ("text", "image"), *, n_best: int = 10) -> None:
        super().__init__()
        check_names(experts, where="model.decoder.experts")
        if n_best < 1:
            raise RecipeError(
                f"n_best must be at least 1, not {n_best}", where="model.decoder.n_best", code="part.setting"
            )
        self.experts, self.n_best = tuple(experts), n_best
        self.requires = gates(self.experts)
        self._taggers: tuple[CrfTagger, ...] = ()

    def fit(self, examples: Iterable[Example]) -> Labels:
        """The span types in the data; the tags are those of the experts."""
        return {"types": learn_types(examples, None)}

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        self._types: list[str] = label_names(labels, "types")

    def label_axes(self) -> Mapping[str, LabelAxes] | None:
        return {}  # the experts have the labels

    def connect(self, encoders: Mapping[str, Encoder]) -> None:
        """Take tags and CRFs from the experts.

        Raises `RecipeError` for experts that do not tag words with a CRF, whose tags differ, or that do not know
        a type of the training data.
        """
        self._taggers = decoders_of(
            self.experts, encoders, CrfTagger, lambda tagger: tagger.tags.names, "a CRF tagger"
        )
        self.tags = self._taggers[0].tags
        check_known(self._types, self.tags.types, "span types")

    def examine(self, examples: Sequence[Example], *, annotated: bool = True) -> Iterable[Problem]:
        yield from super().examine(examples, annotated=annotated)
        yield from type_problems(examples, None)
        yield from overlap_problems(examples)

    def check(self, examples: Sequence[Example]) -> None:
        check_data(self.experts, self._taggers, examples)

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """`tags [B, W]`, -1 after a sentence's last word."""
        longest = max(len(example.tokens) for example in examples)
        tags = padded([self.tags.encode(example) for example in examples], max(1, longest))
        return {"tags": torch.from_numpy(tags)}

    def mixture(self, states: States) -> CrfMixture:
        """The mixture over the words that all experts read."""
        emissions = [states[f"{name}.emissions"] for name in self.experts]
        lengths = torch.stack([states[f"{name}.lengths"] for name in self.experts]).amin(0)
        width = min(own.shape[1] for own in emissions)
        mask = torch.arange(max(1, width), device=lengths.device) < lengths.unsqueeze(1)
        return CrfMixture(
            crfs=[tagger.crf for tagger in self._taggers],
            log_weights=torch.stack([states[f"{name}.gate"] for name in self.experts], dim=1),
            emissions=[_cut(own, mask.shape[1]) for own in emissions],
            mask=mask,
        )

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        mixture = self.mixture(states)
        return {"nll": -mixture.log_likelihood(targets["tags"][:, : mixture.mask.shape[1]]).mean()}

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        """Spans of the best proposed tags.

        A span's score is the geometric mean of the marginal probabilities of its words' tags.
        """
        mixture = self.mixture(states)
        tags = mixture.search(self.n_best).tags
        log_probs = mixture.log_marginals().gather(2, tags.clamp(min=0).unsqueeze(2)).squeeze(2)
        return predicted_spans(self.tags, batch.examples, tags, log_probs)

    def proven(self, states: States) -> Tensor:
        """Whether the tags from `decode` are proven to be the best of all, for each sentence: bool `[B]`."""
        return self.mixture(states).search(self.n_best).proven


def _cut(emissions: Tensor, width: int) -> Tensor:
    """Emissions `[B, W, K]` cut or padded to a width."""
    return F.pad(emissions, (0, 0, 0, width - emissions.shape[1]))
