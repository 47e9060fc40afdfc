"""`mmkit.side_by_side.v1`: the features of several encoders, each under its own name."""

from __future__ import annotations

from collections.abc import Mapping

from mmkit.batch import Batch, Features, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import Fuser


class SideBySide(Fuser):
    """Fuses nothing: every encoder's features become states `<encoder>.<feature>`.

    For a scorer that compares mentions and entities by more than one vector.

    Args:
        encoders: names of the encoders in the recipe.
        features: names of the features that are passed on from each encoder.
    """

    def __init__(self, encoders: list[str], features: tuple[str, ...] = ("pooled", "mask")) -> None:
        super().__init__()
        if not encoders or not features:
            raise ValueError("encoders and features must name at least one each")
        self.names, self.features = list(dict.fromkeys(encoders)), list(dict.fromkeys(features))
        self.provides = frozenset(f"{name}.{feature}" for name in self.names for feature in self.features)

    def requires(self) -> dict[str, frozenset[str]]:
        return {name: frozenset(self.features) for name in self.names}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        """Makes no modules."""
        if "pooled" in self.features:
            self.dims = {f"{name}.pooled": encoders[name].dim for name in self.names}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        states: Features = {}
        for name in self.names:
            found = encoders[name](batch.inputs[name])
            states |= {f"{name}.{feature}": found[feature] for feature in self.features}
        return States(states)
