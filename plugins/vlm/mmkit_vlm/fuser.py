"""`vlm.texts.v1`: vectors of texts, by which a decoder finds the nearest training examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkit.batch import Batch, Features, States
from mmkit.encoders.base import Encoder
from mmkit.errors import PartError
from mmkit.fusers.base import Fuser
from mmkit.fusers.pooled import total


class Texts(Fuser):
    """The normalised vectors of encoders side by side, as `query [B, D]`.

    The decoders of this package compare them with those of training examples, if they show the nearest of these.
    """

    provides = frozenset({"query"})

    def __init__(self, encoders: list[str] | None = None) -> None:
        super().__init__()
        self.names = list(dict.fromkeys(["text"] if encoders is None else encoders))
        if not self.names:
            raise PartError("encoders must name at least one encoder", code="part.setting")

    def requires(self) -> dict[str, frozenset[str]]:
        return {name: frozenset({"pooled", "mask"}) for name in self.names}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        self.dims = {"query": sum(encoders[name].dim for name in self.names)}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        return States({"query": vectors(encoders, self.names, batch.inputs)})


def vectors(encoders: Mapping[str, Encoder], names: Sequence[str], inputs: Mapping[str, Features]) -> Tensor:
    """The normalised vectors of encoders side by side, `[B, D]`."""
    return torch.cat([F.normalize(total(encoders[name](inputs[name])), dim=-1) for name in names], dim=-1)
