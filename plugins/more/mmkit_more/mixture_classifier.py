"""`more.mixture_classifier.v1`: classifies the relation of two spans by a mixture of trained classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkit.batch import Features, States
from mmkit.data.types import Entity, Example
from mmkit.decoders.base import LabelAxes, Labels, label_names
from mmkit.decoders.pair_decoder import PairDecoder
from mmkit.encoders.base import Encoder
from mmkit_more.experts import check_data, check_known, check_names, decoders_of, mix
from mmkit_more.mixture import gates


class MixtureClassifier(PairDecoder):
    """Classifies the relation of two given spans by p(y) = Σₖ λₖ pₖ(y) (MoRe; Wang et al., 2022).

    The weights λ are those of `more.mixture.v1`, the pₖ the classifiers of trained runs (`mmkit.run.v1`), which must
    have the same relations. An example with several pairs becomes several examples.

    Loss `nll`: −log Σₖ λₖ pₖ(gold), mean over pairs.

    Args:
        experts: names of the encoders in the recipe, as in the fuser.
    """

    def __init__(self, experts: tuple[str, ...] = ("text", "image")) -> None:
        super().__init__()
        check_names(experts, where="model.decoder.experts")
        self.experts = tuple(experts)
        self.requires = gates(self.experts)
        self._classifiers: tuple[PairDecoder, ...] = ()

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        self._relations: list[str] = label_names(labels, "relations")

    def label_axes(self) -> Mapping[str, LabelAxes] | None:
        return {}  # the experts have the labels

    def connect(self, encoders: Mapping[str, Encoder]) -> None:
        """Take the relations from the experts.

        Raises `RecipeError` for experts that do not classify pairs, whose relations differ, or that do not know
        a relation of the training data.
        """
        self._classifiers = decoders_of(
            self.experts,
            encoders,
            PairDecoder,  # type: ignore[type-abstract]
            lambda classifier: classifier.labels,
            "a pair classifier",
        )
        self.labels = self._classifiers[0].labels
        check_known(self._relations, self.labels, "relations")

    def check(self, examples: Sequence[Example]) -> None:
        super().check(examples)
        check_data(self.experts, self._classifiers, examples)

    def logits(self, states: States) -> Tensor:
        """Log-probabilities of the relations `[B, R]`, in float32 at least."""
        log_weights = torch.stack([states[f"{name}.gate"] for name in self.experts], dim=1)
        return mix(log_weights, [states[f"{name}.logits"].log_softmax(1) for name in self.experts])

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        return {"nll": F.nll_loss(self.logits(states), targets["relation"])}
