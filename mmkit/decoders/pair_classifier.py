"""`mmkit.pair_classifier.v1`: classifies the relation of two spans by markers around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from mmkit.batch import States
from mmkit.data.types import Entity, Example, TextView
from mmkit.decoders.base import LabelAxes, Labels
from mmkit.decoders.marked_pairs import MarkedPairDecoder
from mmkit.ops.dropout import Dropout


class PairClassifier(MarkedPairDecoder):
    """Classifies the relation of two given spans by the states at markers around them.

    The head is between `head_markers`, the tail between `tail_markers` (Baldini Soares et al., 2019). The states at
    the two opening markers are concatenated, head first or, with `order = "text"`, in the order of the text; then
    optionally normalised, and classified. `relations` are the labels in order (default: those in the training data,
    sorted after `none_label`). An example with several pairs becomes several examples, `id#0`, `id#1` and so on (see
    `PairDecoder`).

    If the length limit cut a marker off, the state at the text's first position is used.
    Loss `cross_entropy`: mean over pairs.
    """

    captures = True
    requires: frozenset[str] = frozenset({"tokens", "mask", "marker_index"})

    linear: nn.Linear

    def __init__(
        self,
        *,
        relations: list[str] | None = None,
        none_label: str = "None",
        head_markers: tuple[str, str] = ("<s>", "</s>"),
        tail_markers: tuple[str, str] = ("<o>", "</o>"),
        order: Literal["role", "text"] = "role",
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            relations=relations, none_label=none_label, head_markers=head_markers, tail_markers=tail_markers
        )
        self.order, self.layer_norm = order, layer_norm
        self.dropout = Dropout(dropout)

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        super().build(dims, labels, entities)
        self.norm = nn.LayerNorm(2 * dims["tokens"]) if self.layer_norm else nn.Identity()
        self.linear = nn.Linear(2 * dims["tokens"], len(self.labels))

    def label_axes(self) -> Mapping[str, LabelAxes] | None:
        return {"linear.weight": ("relations", None), "linear.bias": ("relations",)}

    def views(self, example: Example) -> dict[str, TextView]:
        """`text`: the tokens with markers around both spans; `markers` are the two opening ones."""
        view = self.marked(example)
        return {"text": replace(view, markers=tuple(sorted(view.markers))) if self.order == "text" else view}

    def logits(self, states: States) -> Tensor:
        """Scores of the relations `[B, R]`, in float32 at least."""
        position = states["marker_index"].clamp(min=0)  # [B, 2]
        tokens = states["tokens"]
        marked = tokens.gather(1, position.unsqueeze(2).expand(-1, -1, tokens.shape[2]))  # [B, 2, D]
        scores: Tensor = self.linear(self.norm(self.dropout(marked.flatten(1))))
        return scores.to(torch.promote_types(scores.dtype, torch.float32))
