"""`mimic.towers.v1`: what both towers see of a mention or an entity, for the units to compare."""

from __future__ import annotations

from collections.abc import Mapping

from mmkit.batch import Batch, Features, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import Fuser

SEEN = {"text": ("pooled", "tokens", "token_mask"), "picture": ("pooled", "tokens")}
"""Tower → the features that are handed on."""

STATES = frozenset(f"{tower}.{feature}" for tower, features in SEEN.items() for feature in features)


class Towers(Fuser):
    """Fuses nothing: hands on each tower's features, of mentions (`[model.fuser]`) or of entities.

    States: `text.pooled [B, D]`, `text.tokens [B, T, W]`, `text.token_mask [B, T]`, `picture.pooled [B, D]`,
    `picture.tokens [B, P, W]`.

    Args:
        text, picture: names of the encoders in the recipe.
    """

    provides = STATES

    def __init__(self, text: str = "text", picture: str = "picture") -> None:
        super().__init__()
        self.names = {"text": text, "picture": picture}

    def requires(self) -> dict[str, frozenset[str]]:
        return {self.names[tower]: frozenset(features) for tower, features in SEEN.items()}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        """Makes no modules."""
        for tower, name in self.names.items():
            encoder = encoders[name]
            self.dims[f"{tower}.pooled"] = encoder.dim
            self.dims[f"{tower}.tokens"] = getattr(encoder, "token_dim", encoder.dim)

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        states: Features = {}
        for tower, name in self.names.items():
            found = encoders[name](batch.inputs[name])
            states |= {f"{tower}.{feature}": found[feature][:, 0] for feature in SEEN[tower]}
        return States(states)
