"""`earlier.gated_image.v1`: pictures' features, let through to each token by a gate."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from mmkit.batch import Batch, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import ALIGNMENT, Fuser


class GatedImage(Fuser):
    """Adds the mean of an example's pictures to each token, as far as a learned gate lets it through.

    States are `tokens [B, T, D]`, as wide as the text's, and `pooled [B, D]`. With `weight` above 0 it adds a loss
    `gate`: that the gate be open half of the time.
    """

    provides = frozenset({"tokens", "mask", "pooled"}) | ALIGNMENT

    def __init__(
        self, text: str = "text", vision: str = "vision", dropout: float = 0.1, weight: float = 0.0
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be from 0 up to 1, not {dropout}")
        self.text, self.vision, self.weight = text, vision, weight
        self.dropout = nn.Dropout(dropout)

    def requires(self) -> dict[str, frozenset[str]]:
        return {
            self.text: frozenset({"tokens", "mask", "pooled"}),
            self.vision: frozenset({"pooled", "mask"}),
        }

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        width = encoders[self.text].dim
        self.picture = nn.Linear(encoders[self.vision].dim, width)
        self.gate = nn.Linear(2 * width, width)
        self.dims = {"tokens": width, "pooled": width}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        inputs = batch.inputs[self.text]
        text = encoders[self.text](inputs)
        seen = encoders[self.vision](batch.inputs[self.vision])
        real = seen["mask"].to(seen["pooled"])[..., None]
        picture = self.picture(self.dropout((seen["pooled"] * real).sum(1) / real.sum(1).clamp(min=1)))
        spread = picture[:, None].expand_as(text["tokens"])
        gate = torch.sigmoid(self.gate(torch.cat([text["tokens"], spread], dim=-1)))
        tokens = text["tokens"] + gate * spread
        states = States.of_text(
            {"tokens": tokens, "mask": text["mask"], "pooled": text["pooled"] + picture}, inputs
        )
        if self.weight and self.training:
            states.losses["gate"] = self.weight * (gate.mean() - 0.5) ** 2
        return states
