"""`more.mixture.v1`: a gate that weights several trained runs for each sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from mmkit.batch import Batch, Features, States
from mmkit.encoders.abilities import GivesScores
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import Fuser
from mmkit.fusers.needs import Needs
from mmkit.inspection import Inspection, tables
from mmkit_more.experts import check_names


class Mixture(Fuser):
    """Weights trained runs by their vectors of a sentence (MoRe; Wang et al., EMNLP Findings 2022, arXiv 2212.01612).

    The vectors `pooled` of all experts, concatenated, go through a linear layer, or through two with `hidden`
    units between them, and a softmax gives the weights λ, which sum to 1. Initially all experts have the same weight.
    For two experts this is a sigmoid of one number, as in the paper.

    States, for each expert: `<name>.gate [B]`, log λ; and its decoder's scores, `<name>.emissions [B, W, K]` with
    `<name>.lengths [B]`, or `<name>.logits [B, R]`.

    Args:
        experts: names of the encoders (`mmkit.run.v1`) in the recipe, two or more.
        hidden: width of the gate's hidden layer; 0: none.
    """

    def __init__(self, experts: tuple[str, ...] = ("text", "image"), hidden: int = 0) -> None:
        super().__init__()
        check_names(experts, where="model.fuser.experts")
        self.experts, self.hidden = tuple(experts), hidden
        self.provides = gates(self.experts)

    def requires(self) -> dict[str, Needs]:
        return {name: Needs(frozenset({"pooled"}), (GivesScores,)) for name in self.experts}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        width = sum(encoders[name].dim for name in self.experts)
        last = nn.Linear(self.hidden or width, len(self.experts))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        before = [nn.Linear(width, self.hidden), nn.ReLU()] if self.hidden else []
        self.gate = nn.Sequential(*before, last)

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        read = {name: _one_slot(encoders[name](batch.inputs[name])) for name in self.experts}
        weights = self.log_weights(torch.cat([read[name]["pooled"] for name in self.experts], dim=1))
        states = {f"{name}.gate": own for name, own in zip(self.experts, weights.unbind(1), strict=True)}
        for name, features in read.items():
            states |= {f"{name}.{k}": v for k, v in features.items() if k not in ("pooled", "mask")}
        return States(states)

    def inspect(self, states: States, batch: Batch) -> list[Inspection]:
        """The weight λ of each expert, for each example; together 1."""
        weights = torch.stack([states[f"{name}.gate"] for name in self.experts], dim=-1).exp()
        return [{"weights of the experts": own} for own in tables(weights.unsqueeze(1), ["λ"], self.experts)]

    def log_weights(self, pooled: Tensor) -> Tensor:
        """log λ `[B, E]` of concatenated vectors `[B, D]`, in float32 at least."""
        scores: Tensor = self.gate(pooled)
        return scores.to(torch.promote_types(scores.dtype, torch.float32)).log_softmax(1)


def gates(experts: Iterable[str]) -> frozenset[str]:
    """The states with the weights of the experts; the decoder finds the experts' decoders in `connect`."""
    return frozenset(f"{name}.gate" for name in experts)


def _one_slot(features: Features) -> Features:
    """Features without the dimension of slots; a run has one slot."""
    return {name: tensor.squeeze(1) for name, tensor in features.items()}
