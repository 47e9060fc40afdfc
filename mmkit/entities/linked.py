"""What a decoder that links gets: the entities' tensors, and the scorer that compares them with a query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from mmkit.batch import Features
from mmkit.encoders.entity_features import EntityFeatures
from mmkit.scorers.base import Scorer
from mmkit.scorers.cosine import CosineScorer

RERANKER = "reranker:"
"""The prefix of names of tensors that belong to the reranker."""


def of_scorer(features: Features) -> Features:
    """An entity's tensors for the scorer."""
    return {name: tensor for name, tensor in features.items() if not name.startswith(RERANKER)}


def of_reranker(features: Features) -> Features:
    """An entity's tensors for the reranker."""
    return {n.removeprefix(RERANKER): tensor for n, tensor in features.items() if n.startswith(RERANKER)}


class Tensors(Protocol):
    """Named tensors of the entities of a knowledge base, by row."""

    def __len__(self) -> int: ...

    def gather(self, rows: Tensor) -> Features:
        """`[..., ...]` of `rows [...]`; with gradients while they are trained."""
        ...

    def recent(self, rows: Tensor) -> Features:
        """The same without gradients; they may be computed with older weights."""
        ...

    def blocks(self) -> Iterator[tuple[int, Features]]:
        """(first row, tensors `[n, ...]`) of consecutive rows."""
        ...


@dataclass(frozen=True)
class LinkedEntities:
    """A knowledge base ready to be linked to."""

    tensors: Tensors
    scorer: Scorer
    vectors: EntityFeatures | None = None
    """The vectors of the cosine, if the scorer says that its score is a cosine."""
    reranker: Scorer | None = None
    depth: int = 100
    """The number of entities that the reranker sees: the best by the scorer."""

    @classmethod
    def of_vectors(cls, features: EntityFeatures, scorer: Scorer | None = None) -> LinkedEntities:
        """One vector for each entity, compared by cosine: by `scorer`, or with the state `query`."""
        scorer = scorer or CosineScorer()
        assert scorer.vectors is not None
        return cls(_Named(features, scorer.vectors[1]), scorer, features)


class _Named:
    """Features under a name."""

    def __init__(self, features: EntityFeatures, name: str) -> None:
        self.features, self.name = features, name

    def __len__(self) -> int:
        return len(self.features)

    def gather(self, rows: Tensor) -> Features:
        return {self.name: self.features.gather(rows)}

    def recent(self, rows: Tensor) -> Features:
        return {self.name: self.features.gather(rows).detach()}

    def blocks(self) -> Iterator[tuple[int, Features]]:
        for first, block in self.features.blocks():
            yield first, {self.name: block}
