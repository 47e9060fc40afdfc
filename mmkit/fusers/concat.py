"""`mmkit.concat.v1`: pooled image features joined to each token, the simplest way to fuse."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmkit.batch import Batch, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import ALIGNMENT, Fuser
from mmkit.ops.dropout import Dropout


class Concat(Fuser):
    """Joins the mean of an example's images, projected to `hidden`, to every token and to the pooled text.

    The mean is over real images; an example without any gets the projection of zeros. States are
    `tokens [B, T, D + hidden]` and `pooled [B, D + hidden]`.
    """

    captures = True
    provides: frozenset[str] = frozenset({"tokens", "mask", "pooled"}) | ALIGNMENT

    def __init__(
        self, text: str = "text", vision: str = "vision", hidden: int = 128, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.text, self.vision, self.hidden = text, vision, hidden
        self.dropout = Dropout(dropout)

    def requires(self) -> dict[str, frozenset[str]]:
        return {
            self.text: frozenset({"tokens", "mask", "pooled"}),
            self.vision: frozenset({"pooled", "mask"}),
        }

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        self.projection = nn.Linear(encoders[self.vision].dim, self.hidden)
        width = encoders[self.text].dim + self.hidden
        self.dims = {"tokens": width, "pooled": width}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        inputs = batch.inputs[self.text]
        text = encoders[self.text](inputs)
        pictures = encoders[self.vision](batch.inputs[self.vision])
        seen = self.dropout(torch.tanh(self.projection(mean_of(pictures["pooled"], pictures["mask"]))))
        beside = seen[:, None].expand(-1, text["tokens"].shape[1], -1)
        joined = {
            "tokens": torch.cat([text["tokens"], beside], dim=-1),
            "pooled": torch.cat([text["pooled"], seen], dim=-1),
        }
        return States.of_text({**text, **joined}, inputs)


def mean_of(pooled: Tensor, mask: Tensor) -> Tensor:
    """The mean over real images `[B, D]` of `pooled [B, n, D]`; zeros if no image is real."""
    real = mask[..., None].to(pooled.dtype)
    return (pooled * real).sum(1) / real.sum(1).clamp(min=1)
