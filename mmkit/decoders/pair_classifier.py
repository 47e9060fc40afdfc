"""`mmkit.pair_classifier.v1`: classifies the relation of two spans by markers put around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from mmkit.batch import Features, States
from mmkit.data.types import Entity, Example, Span, TextView
from mmkit.decoders.base import Labels
from mmkit.decoders.pair_decoder import PairDecoder, pair_of
from mmkit.errors import RecipeError


class PairClassifier(PairDecoder):
    """Classifies the relation of two given spans by the states at markers put around them.

    The head stands between `head_markers`, the tail between `tail_markers` (Baldini Soares et al., 2019). The
    states at the two opening markers are concatenated, head first or, with `order = "text"`, as they come in
    the text; then optionally normalised, and classified. `relations` are the labels in order (default: those
    in the training data, sorted after `none_label`). An example with several pairs becomes as many, `id#0`,
    `id#1` and so on (see `PairDecoder`).

    For a marker that the length limit cut off, the state at the text's first position is taken.
    Loss `cross_entropy`: mean over pairs.
    """

    requires: frozenset[str] = frozenset({"tokens", "mask", "marker_index"})
    score_names: frozenset[str] = frozenset({"logits"})

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
        super().__init__(relations=relations, none_label=none_label)
        markers = (*head_markers, *tail_markers)
        if len(set(markers)) < 4 or not all(markers):
            raise RecipeError(
                f"head_markers and tail_markers must be four different tokens, not {list(markers)}",
                hint='such as head_markers = ["<s>", "</s>"] and tail_markers = ["<o>", "</o>"]',
            )
        self.head_markers, self.tail_markers = head_markers, tail_markers
        self.order, self.layer_norm = order, layer_norm
        self.dropout = nn.Dropout(dropout)

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The four markers."""
        return (*self.head_markers, *self.tail_markers)

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        super().build(dims, labels, entities)
        self.norm = nn.LayerNorm(2 * dims["tokens"]) if self.layer_norm else nn.Identity()
        self.linear = nn.Linear(2 * dims["tokens"], len(self.labels))

    def views(self, example: Example) -> dict[str, TextView]:
        """`text`: the tokens with markers around both spans; `markers` are the two opening ones."""
        pair = pair_of(example)
        view = mark(example.tokens, [(pair.head, self.head_markers), (pair.tail, self.tail_markers)])
        if self.order == "text":
            view = replace(view, markers=tuple(sorted(view.markers)))
        return {"text": view}

    def logits(self, states: States) -> Tensor:
        """Scores of the relations `[B, R]`, in float32 at least."""
        position = states["marker_index"].clamp(min=0)  # [B, 2]
        tokens = states["tokens"]
        marked = tokens.gather(1, position.unsqueeze(2).expand(-1, -1, tokens.shape[2]))  # [B, 2, D]
        scores = self.linear(self.norm(self.dropout(marked.flatten(1))))
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def scores(self, states: States) -> Features:
        """`logits [B, R]`."""
        return {"logits": self.logits(states)}


def mark(tokens: Sequence[str], marked: Sequence[tuple[Span, tuple[str, str]]]) -> TextView:
    """The tokens with an opening and a closing marker around each span; `markers` are the opening ones.

    Nested spans get nested markers and, of equal spans, the first is outside; where spans touch, one closes
    before the other opens. Only spans that cross each other have crossing markers.
    """
    order = range(len(marked))
    opening = sorted(order, key=lambda i: (marked[i][0].start, -marked[i][0].end, i))  # the outer first
    closing = sorted(order, key=lambda i: (marked[i][0].end, -marked[i][0].start, -i))  # the inner first
    words: list[str] = []
    index: list[int] = []
    markers = [0] * len(marked)
    for position in range(len(tokens) + 1):
        for i in closing:
            if marked[i][0].end == position:
                words.append(marked[i][1][1])
                index.append(-1)
        for i in opening:
            if marked[i][0].start == position:
                markers[i] = len(words)
                words.append(marked[i][1][0])
                index.append(-1)
        if position < len(tokens):
            words.append(tokens[position])
            index.append(position)
    return TextView(tuple(words), tuple(index), tuple(markers))
