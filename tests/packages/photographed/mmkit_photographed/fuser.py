"""`photographed.both.v1`: a name and photos as one vector, for mentions and for entities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from mmkit import Batch, Encoder, Fuser, States
from mmkit.fusers.pooled import total
from mmkit.ops.losses import unit


class Both(Fuser):
    """The name's vector beside the sum of the photos' vectors `[B, D + P]`, each projected and of length 1.

    Args:
        text, photo: names of the encoders in the recipe.
        state: what the vector is called.
        width: of each projection.
    """

    def __init__(
        self, text: str = "name", photo: str = "photo", state: str = "query", width: int = 32
    ) -> None:
        super().__init__()
        self.text, self.photo, self.state, self.width = text, photo, state, width
        self.provides = frozenset({state})

    def requires(self) -> dict[str, frozenset[str]]:
        return {name: frozenset({"pooled", "mask"}) for name in (self.text, self.photo)}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        self.layers = nn.ModuleDict(
            {name: nn.Linear(encoders[name].dim, self.width) for name in (self.text, self.photo)}
        )
        self.dims = {self.state: 2 * self.width}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        read = {name: encoders[name](batch.inputs[name]) for name in (self.text, self.photo)}
        vectors = [unit(self.layers[name](total(features))) for name, features in read.items()]
        return States({self.state: torch.cat(vectors, dim=1)})
