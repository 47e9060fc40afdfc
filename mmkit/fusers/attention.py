"""Attention of one vector of an example over several others."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.errors import PartError


class VectorAttention(nn.Module):
    """Multi-head attention without dropout whose query is one vector an example: the mention, mostly.

    Raises `PartError` unless the width can be cut into so many heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise PartError(
                f"an attention {width} wide cannot be cut into {heads} heads",
                hint="change `heads` of the fuser",
            )
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, query: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
        """`[B, D]`: what `query [B, D]` finds in `others [B, n, D]`, under `mask [B, n]` (True where real).

        An example without any real vector attends to its first one, whatever it holds.
        """
        if others.shape[1] == 1:
            return self._all_to(others[:, 0])
        if mask is not None:
            mask = mask.clone()
            mask[:, 0] |= ~mask.any(1)  # attention over nothing is not a number
            mask = ~mask
        query = query.unsqueeze(1)
        found, _ = self.attention(query, others, others, key_padding_mask=mask, need_weights=False)
        return found.squeeze(1)

    def _all_to(self, only: Tensor) -> Tensor:
        """What any query finds where there is but one vector: no weights need be worked out."""
        attention, width = self.attention, self.attention.embed_dim
        bias = attention.in_proj_bias[2 * width :]
        return attention.out_proj(F.linear(only, attention.in_proj_weight[2 * width :], bias))
