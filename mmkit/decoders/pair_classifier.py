"""`mmkit.pair_classifier.v1`: classifies the relation of two spans by markers put around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.batch import Batch, Features, States
from mmkit.data.types import Entity, Example, Prediction, Relation, Span, TextView
from mmkit.decoders.base import Decoder, Labels
from mmkit.errors import DataError, RecipeError, did_you_mean


class PairClassifier(Decoder):
    """Classifies the relation of two given spans by the states at markers put around them.

    The head stands between `head_markers`, the tail between `tail_markers` (Baldini Soares et al., 2019). The
    states at the two opening markers are concatenated, head first or, with `order = "text"`, as they come in
    the text; then optionally normalised, and classified. `relations` are the labels in order (default: those
    in the training data, sorted after `none_label`). An example with several pairs becomes as many, `id#0`,
    `id#1` and so on.

    For a marker that the length limit cut off, the state at the text's first position is taken.
    Loss `cross_entropy`: mean over pairs.
    """

    requires: frozenset[str] = frozenset({"tokens", "mask", "marker_index"})
    pairs: ClassVar[bool] = True
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
        super().__init__()
        if relations is not None and (not relations or len(set(relations)) < len(relations)):
            raise RecipeError(f"relations must be different names, not {relations}", hint="or leave them out")
        markers = (*head_markers, *tail_markers)
        if len(set(markers)) < 4 or not all(markers):
            raise RecipeError(
                f"head_markers and tail_markers must be four different tokens, not {list(markers)}",
                hint='such as head_markers = ["<s>", "</s>"] and tail_markers = ["<o>", "</o>"]',
            )
        self.relations, self.none_label, self.order, self.layer_norm = (
            relations,
            none_label,
            order,
            layer_norm,
        )
        self.head_markers, self.tail_markers = head_markers, tail_markers
        self.dropout = nn.Dropout(dropout)

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The four markers."""
        return (*self.head_markers, *self.tail_markers)

    def fit(self, examples: Iterable[Example]) -> Labels:
        found: set[str] = set()
        for example in examples:
            found |= {_label(relation, example, self.relations) for relation in example.relations}
        if not found:
            raise DataError("no training example has a relation", hint="is this the right file?")
        return {
            "relations": self.relations or sorted(found, key=lambda name: (name != self.none_label, name))
        }

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        self.labels: list[str] = labels["relations"]
        self._ids = {name: i for i, name in enumerate(self.labels)}
        self.norm = nn.LayerNorm(2 * dims["tokens"]) if self.layer_norm else nn.Identity()
        self.linear = nn.Linear(2 * dims["tokens"], len(self.labels))

    def units(self, example: Example) -> list[Example]:
        """One example a pair. Raises `DataError` if there is none."""
        _pair(example)
        if len(example.relations) == 1:
            return [example]
        return [
            replace(example, id=f"{example.id}#{i}", relations=(relation,))
            for i, relation in enumerate(example.relations)
        ]

    def views(self, example: Example) -> dict[str, TextView]:
        """`text`: the tokens with markers around both spans; `markers` are the two opening ones."""
        pair = _pair(example)
        view = mark(example.tokens, [(pair.head, self.head_markers), (pair.tail, self.tail_markers)])
        if self.order == "text":
            view = replace(view, markers=tuple(sorted(view.markers)))
        return {"text": view}

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """`relation [B]`."""
        names = [_label(_pair(example), example, self.labels) for example in examples]
        return {"relation": torch.tensor([self._ids[name] for name in names])}

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

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(self.logits(states), targets["relation"])}

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        """The most probable relation of each pair, `none_label` among them, with its probability."""
        best = self.logits(states).softmax(1).max(1)
        score, label = torch.stack([best.values, best.indices.to(best.values)]).cpu().tolist()  # one transfer
        return [
            Prediction(
                id=example.id,
                relations=(replace(_pair(example), label=self.labels[int(index)]),),
                relation_scores=(probability,),
            )
            for example, index, probability in zip(batch.examples, label, score, strict=True)
        ]


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


def _pair(example: Example) -> Relation:
    """The pair of an example that is one unit. Raises `DataError` if it has none."""
    if not example.relations:
        raise DataError(
            "there is no pair of spans to classify", where=example.id, hint="give a head and a tail span"
        )
    return example.relations[0]


def _label(relation: Relation, example: Example, known: Sequence[str] | None) -> str:
    """A gold pair's label. Raises `DataError` if it has none, or none of the `known`."""
    if relation.label is None:
        raise DataError("a relation without a label cannot be trained on", where=example.id)
    if known is not None and relation.label not in known:
        raise DataError(
            f"the relation {relation.label!r} is unknown",
            where=example.id,
            hint=did_you_mean(relation.label, known),
        )
    return relation.label
