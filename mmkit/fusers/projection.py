"""The small trained layers of fusers for entity linking, and their initial weights."""

from __future__ import annotations

from torch import nn

from mmkit.ops.dropout import Dropout


class Projection(nn.Sequential):
    """Linear, ReLU, LayerNorm, dropout: features `[..., width]` → `[..., hidden]`."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(nn.Linear(width, hidden), nn.ReLU(), nn.LayerNorm(hidden), Dropout(dropout))


class QueryHead(nn.Sequential):
    """Dropout and Linear: fused features `[..., hidden]` → the query `[..., dim]`."""

    def __init__(self, hidden: int, dim: int, dropout: float) -> None:
        super().__init__(Dropout(dropout), nn.Linear(hidden, dim))


def xavier_uniform_(module: nn.Module) -> None:
    """Initialise every matrix of `module` again, Xavier-uniform; vectors stay as torch initialises them."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
