"""The attention block of TESGA: the result of attention passes a gate and is added to the key-value sequence."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.ops.dropout import Dropout


class GatedAttention(nn.Module):
    """Attention block (paper, "Similarity-gated attention"): LayerNorm(key-value + gate · attention), feed-forward.

    There are `heads` heads, each as wide as the input. The residual is the key-value sequence, not the query.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, heads * width)
        self.key = nn.Linear(width, heads * width)
        self.value = nn.Linear(width, heads * width)
        self.out = nn.Linear(heads * width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(
        self, query: Tensor, sequence: Tensor, mask: Tensor | None = None, gate: Tensor | None = None
    ) -> Tensor:
        """`[B, T, D]` of `query [B, T, D]` over `sequence [B, T, D]`, under `mask [B, T]` (True where real).

        One query for each example, `[B, 1, D]`, is used at every position. `gate [B, 1]` scales the result.
        """
        heads = (
            self._heads(self.query(query)),
            self._heads(self.key(sequence)),
            self._heads(self.value(sequence)),
        )
        real = None if mask is None else mask[:, None, None]
        found = F.scaled_dot_product_attention(*heads, attn_mask=real)
        found = self.out(found.transpose(1, 2).flatten(2))  # [B, T or 1, D]
        if gate is not None:
            found = found * gate.unsqueeze(2)
        mixed = self.norm(sequence + found)
        out: Tensor = self.last_norm(mixed + self.dropout(self.feed_forward(mixed)))
        return out

    def _heads(self, x: Tensor) -> Tensor:
        """`[B, T, heads · D]` → `[B, heads, T, D]`."""
        heads: Tensor = x.unflatten(2, (self.heads, -1))
        return heads.transpose(1, 2)
