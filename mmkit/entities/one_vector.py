"""One encoder's vector of each entity, if `[model.entities]` names no fuser."""

from __future__ import annotations

from collections.abc import Mapping

from mmkit.batch import Batch, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import Fuser
from mmkit.fusers.pooled import total


class OneVector(Fuser):
    """`pooled [N, D]` of the only encoder; the zero vector if it has nothing to read."""

    provides = frozenset({"pooled"})

    def __init__(self, encoder: str) -> None:
        super().__init__()
        self.encoder = encoder

    def requires(self) -> dict[str, frozenset[str]]:
        return {self.encoder: frozenset({"pooled"})}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        """Makes no modules."""
        self.dims = {"pooled": encoders[self.encoder].dim}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        return States({"pooled": total(encoders[self.encoder](batch.inputs[self.encoder]))})
