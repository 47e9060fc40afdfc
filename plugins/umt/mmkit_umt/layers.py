"""A layer of BERT whose queries come from one sequence and whose keys and values come from another."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.errors import PartError


class CrossLayer(nn.Module):
    """Multi-head attention, then a feed-forward network, each with a residual and a LayerNorm after it.

    With the same sequence on both sides it is BERT's own layer (Devlin et al., 2019). `width` is that of both
    sequences, `hidden` that of the feed-forward network. LayerNorms have epsilon 1e-12, GELU is the exact one.

    Raises `PartError` unless `width` is a multiple of `heads`.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise PartError(
                f"an attention {width} wide cannot be cut into {heads} heads",
                hint="change `heads` of the fuser",
                code="part.heads",
            )
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.found = nn.Linear(width, width)
        self.found_norm = nn.LayerNorm(width, eps=1e-12)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, asking: Tensor, asked: Tensor, mask: Tensor | None = None) -> Tensor:
        """`[B, S, D]`: what `asking [B, S, D]` finds in `asked [B, L, D]`, under `mask [B, L]` (True where real)."""
        found = F.scaled_dot_product_attention(
            self._by_head(self.query(asking)),
            self._by_head(self.key(asked)),
            self._by_head(self.value(asked)),
            attn_mask=None if mask is None else mask[:, None, None],
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        joined = found.transpose(1, 2).flatten(2)
        attended = self.found_norm(self.dropout(self.found(joined)) + asking)
        narrowed = self.narrow(F.gelu(self.widen(attended)))
        out: Tensor = self.norm(self.dropout(narrowed) + attended)
        return out

    def _by_head(self, x: Tensor) -> Tensor:
        """`[B, L, D]` → `[B, heads, L, D / heads]`."""
        heads: Tensor = x.unflatten(2, (self.heads, -1))
        return heads.transpose(1, 2)


def start(module: nn.Module, deviation: float) -> None:
    """First weights of linear layers as BERT's: N(0, `deviation`), with biases of 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=deviation)
            nn.init.zeros_(part.bias)
