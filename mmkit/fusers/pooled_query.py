"""`mmkit.pooled_query.v1`: the sum of projected features as a query, the simplest way to link."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mmkit.batch import Batch, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import Fuser
from mmkit.fusers.pooled import vectors
from mmkit.fusers.projection import Projection, QueryHead, xavier_uniform_


class PooledQuery(Fuser):
    """Adds up the projected features of encoders and turns the sum into the query `[B, dim]`.

    Each encoder has its own projection (Linear, ReLU, LayerNorm, dropout) of the sum of its real vectors; an encoder
    without a real vector for an example adds nothing.

    Args:
        encoders: names of the encoders in the recipe.
        dim: width of the query, which must be that of the entities' features; None: the first encoder's.
        hidden: width of the projections.
        dropout: after each projection and before the last layer.
    """

    provides: frozenset[str] = frozenset({"query"})

    def __init__(
        self, encoders: list[str], dim: int | None = None, hidden: int = 512, dropout: float = 0.4
    ) -> None:
        super().__init__()
        if not encoders:
            raise ValueError("encoders must name at least one encoder")
        self.names = list(dict.fromkeys(encoders))
        self.dim, self.hidden, self.dropout = dim, hidden, dropout

    def requires(self) -> dict[str, frozenset[str]]:
        return {name: frozenset({"pooled", "mask"}) for name in self.names}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        self.projections = nn.ModuleDict(
            {name: Projection(encoders[name].dim, self.hidden, self.dropout) for name in self.names}
        )
        dim = self.dim or encoders[self.names[0]].dim
        self.head = QueryHead(self.hidden, dim, self.dropout)
        self.dims = {"query": dim}
        xavier_uniform_(self)

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        parts = [self._projected(name, encoders[name](batch.inputs[name])) for name in self.names]
        return States({"query": self.head(sum(parts))})

    def _projected(self, name: str, features: Mapping[str, Tensor]) -> Tensor:
        pooled, mask = vectors(dict(features))
        projected: Tensor = self.projections[name](pooled.sum(1))
        return projected * mask.any(1, keepdim=True)
