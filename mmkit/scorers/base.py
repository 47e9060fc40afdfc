"""The scorer: how well each entity fits a mention's query.

A scorer gets named tensors of queries and of entities, in any number (vectors, tokens, patches). What it computes
from one side alone is computed once and kept: `query` once for each batch, `entity` once for each entity while the
weights do not change. Only `scores` sees both sides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmkit.batch import Features, States

SCORE = "score"
"""The name of the score that ranks, among the scores of a scorer."""


class Scorer(nn.Module, ABC):
    """Scores pairs of a query and an entity; a higher score is better.

    The constructor takes hyperparameters; `build` makes the modules. It computes in float32 if ranks depend on it.
    """

    requires: frozenset[str] = frozenset()
    """States that the fuser of mentions must provide; settings may add to it."""
    entity_requires: frozenset[str] = frozenset()
    """Tensors that the fuser of entities must provide."""
    vectors: tuple[str, str] | None = None
    """Names of a state `[B, D]` and of an entity's tensor `[N, D]`, if the score is exactly their cosine. Then
    entities are found by matrix products and ranked exactly in float64, and faiss can search millions of them.
    """

    @abstractmethod
    def build(self, dims: Mapping[str, int], entity_dims: Mapping[str, int]) -> None:
        """Make the modules. The widths are those of the two fusers, by name of state. Raises `PartError`."""

    def query(self, states: States) -> Features:
        """Tensors of a batch of B mentions for the comparison, `[B, ...]` each."""
        return states.tensors

    def entity(self, features: Features) -> Features:
        """Tensors of N entities for the comparison, `[N, ...]` each. They are kept, so smaller tensors save memory."""
        return features

    @abstractmethod
    def scores(self, query: Features, entities: Features) -> Features:
        """`score [B, N]` of all pairs of B mentions (from `query`) and N entities (from `entity`).

        There may also be scores of parts `[B, N]`, under other names: a loss may train each towards the gold entity.
        """

    def pairs(self, query: Features, entities: Features) -> Features:
        """As `scores`, `[B, C]`, of each mention's own entities, whose tensors are `[B, C, ...]`."""

        def one(query: Features, entities: Features) -> Features:
            found = self.scores({name: tensor[None] for name, tensor in query.items()}, entities)
            return {name: tensor[0] for name, tensor in found.items()}

        return torch.vmap(one, randomness="different")(query, entities)

    def unit(self, score: float) -> float:
        """A score as a number in [0, 1] for people: here its logistic function."""
        return float(torch.tensor(score, dtype=torch.float64).sigmoid())


def together(features: list[Features]) -> Features:
    """Tensors of consecutive records, joined by name; smaller ones are padded with zeros."""
    if len(features) == 1:
        return features[0]
    return {name: joined([some[name] for some in features]) for name in features[0]}


def joined(parts: list[Tensor]) -> Tensor:
    """`torch.cat` of tensors padded with zeros to the size of the largest, in every dimension except the first."""
    sizes = [max(part.shape[i] for part in parts) for i in range(1, parts[0].dim())]
    filled = []
    for part in parts:
        missing = [size - have for size, have in zip(sizes, part.shape[1:], strict=True)]
        padding = [n for size in reversed(missing) for n in (0, size)]
        filled.append(nn.functional.pad(part, padding) if any(missing) else part)
    return torch.cat(filled)
