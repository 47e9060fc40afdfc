"""`mmkit.cosine.v1`: the cosine of a mention's query and an entity's vector."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmkit.batch import Features, States
from mmkit.errors import PartError
from mmkit.ops.losses import unit
from mmkit.scorers.base import SCORE, Scorer


class CosineScorer(Scorer):
    """The cosine of a state and an entity's vector; if an entity has several vectors, the highest cosine.

    Args:
        query: the state `[B, D]` that represents a mention.
        entity: the entity's tensor: `[N, D]`, or `[N, n, D]` with `several`.
        several: whether an entity has several vectors (of its images, for example): the one nearest to the query
            counts. Zero vectors do not count.
    """

    def __init__(self, query: str = "query", entity: str = "pooled", several: bool = False) -> None:
        super().__init__()
        self.names = (query, entity)
        self.several = several
        self.requires, self.entity_requires = frozenset({query}), frozenset({entity})
        self.vectors = None if several else self.names

    def build(self, dims: Mapping[str, int], entity_dims: Mapping[str, int]) -> None:
        """Makes no modules. Raises `PartError` for widths that differ."""
        query, entity = dims.get(self.names[0]), entity_dims.get(self.names[1])
        if None not in (query, entity) and query != entity:
            raise PartError(
                f"{self.names[0]} is {query} wide, but {self.names[1]} of entities {entity}",
                hint="a cosine needs vectors of the same width",
                code="part.widths",
            )

    def query(self, states: States) -> Features:
        return {self.names[0]: states[self.names[0]]}

    def entity(self, features: Features) -> Features:
        return {self.names[1]: features[self.names[1]]}

    def scores(self, query: Features, entities: Features) -> Features:
        """`score [B, N]`; a zero vector has the cosine 0 with everything."""
        asked, known = unit(query[self.names[0]].float()), unit(entities[self.names[1]].float())
        if not self.several:
            return {SCORE: asked @ known.t()}
        cosines = asked @ known.flatten(0, 1).t()  # [B, N n]
        return {SCORE: self._nearest(cosines.unflatten(1, known.shape[:2]), known)}

    def pairs(self, query: Features, entities: Features) -> Features:
        asked, known = unit(query[self.names[0]].float()), unit(entities[self.names[1]].float())
        if not self.several:
            return {SCORE: (known @ asked.unsqueeze(2)).squeeze(2)}
        cosines = (known.flatten(1, 2) @ asked.unsqueeze(2)).squeeze(2).unflatten(1, known.shape[1:3])
        return {SCORE: self._nearest(cosines, known)}

    def _nearest(self, cosines: Tensor, vectors: Tensor) -> Tensor:
        """The highest of each entity's real vectors; 0 if it has none."""
        real = vectors.any(-1)
        best = cosines.masked_fill(~real, -2.0).amax(-1)
        return best.masked_fill(~real.any(-1), 0.0)

    def unit(self, score: float) -> float:
        """(1 + cosine) / 2."""
        return min(1.0, max(0.0, (1 + score) / 2))
