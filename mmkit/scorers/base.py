"""The scorer: how well each entity fits what a fuser makes of a mention.

A scorer sees tensors by name, of a query and of entities, as many a record as its fusers give (vectors, tokens,
patches). What it makes of one side alone is worked out once: of a query a batch (`query`), of an entity once for as
long as the weights stay as they are (`entity`), and kept. Only `scores` sees both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmkit.batch import Features, States

SCORE = "score"
"""The name of the score that ranks, among those that a scorer gives."""


class Scorer(nn.Module, ABC):
    """Scores pairs of a query and an entity; the higher, the better an entity fits.

    The constructor takes hyperparameters; `build` makes the modules. Computed in float32 where ranks depend on it.
    """

    requires: frozenset[str] = frozenset()
    """States that the fuser of mentions must provide; settings may add to it."""
    entity_requires: frozenset[str] = frozenset()
    """Tensors that the fuser of entities must provide."""
    vectors: tuple[str, str] | None = None
    """Names of a state `[B, D]` and of an entity's tensor `[N, D]`, if the score is their cosine and no more.

    Then entities are found by matrix products, ranked exactly in float64, and millions of them searched by faiss.
    """

    @abstractmethod
    def build(self, dims: Mapping[str, int], entity_dims: Mapping[str, int]) -> None:
        """Make the modules. The widths are those of the two fusers, by name of state. Raises `PartError`."""

    def query(self, states: States) -> Features:
        """What is compared of a batch of B mentions, `[B, ...]` each."""
        return states.tensors

    def entity(self, features: Features) -> Features:
        """What is kept of N entities, `[N, ...]` each, and compared. The less it is, the less memory it takes."""
        return features

    @abstractmethod
    def scores(self, query: Features, entities: Features) -> Features:
        """`score [B, N]` of what `query` gave of B mentions and `entity` of N entities, all with all.

        Beside it there may be scores of parts `[B, N]`, by names of their own: a loss may hold each to the gold entity.
        """

    def pairs(self, query: Features, entities: Features) -> Features:
        """As `scores`, `[B, C]`, of each mention's own entities, whose tensors are `[B, C, ...]`."""

        def one(query: Features, entities: Features) -> Features:
            found = self.scores({name: tensor[None] for name, tensor in query.items()}, entities)
            return {name: tensor[0] for name, tensor in found.items()}

        return torch.vmap(one, randomness="different")(query, entities)

    def unit(self, score: float) -> float:
        """A score as a number in [0, 1] for people: here the logistic function of it."""
        return float(torch.tensor(score, dtype=torch.float64).sigmoid())


def together(features: list[Features]) -> Features:
    """Tensors of consecutive records joined by name; those of other sizes are filled up with zeros at their ends."""
    if len(features) == 1:
        return features[0]
    return {name: joined([some[name] for some in features]) for name in features[0]}


def joined(parts: list[Tensor]) -> Tensor:
    """`torch.cat`, of tensors filled up with zeros to the size of the largest in every dimension but the first."""
    sizes = [max(part.shape[i] for part in parts) for i in range(1, parts[0].dim())]
    filled = []
    for part in parts:
        missing = [size - have for size, have in zip(sizes, part.shape[1:], strict=True)]
        padding = [n for size in reversed(missing) for n in (0, size)]
        filled.append(nn.functional.pad(part, padding) if any(missing) else part)
    return torch.cat(filled)
