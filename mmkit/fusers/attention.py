"""Attention of one vector of an example over several others."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.errors import PartError


class VectorAttention(nn.Module):
    """Multi-head attention without dropout whose query is one vector an example: the mention, mostly.

    It computes what `nn.MultiheadAttention` does, whose parameters it has. But as there is one query, the keys'
    and values' layers are applied to it and to what it finds, not to each of the others: scores are
    (W_k^T q) · x, and what is found is W_v Σ a x. So its cost hardly grows with the number of others.

    Raises `PartError` unless the width can be cut into so many heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise PartError(
                f"an attention {width} wide cannot be cut into {heads} heads",
                hint="change `heads` of the fuser",
                code="part.heads",
            )
        self.heads = heads
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, query: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
        """`[B, D]`: what `query [B, D]` finds in `others [B, n, D]`, under `mask [B, n]` (True where real).

        An example without any real vector attends to its first one, whatever it holds.
        """
        to_query, to_key, to_value = self.attention.in_proj_weight.chunk(3)  # [D, D] each
        query_bias, _, value_bias = self.attention.in_proj_bias.chunk(3)  # a key's shifts all scores alike
        if others.shape[1] == 1:  # all attention goes to the only one
            only: Tensor = self.attention.out_proj(F.linear(others[:, 0], to_value, value_bias))
            return only
        scaled = F.linear(query, to_query, query_bias) * (query.shape[1] // self.heads) ** -0.5
        by_head = scaled.unflatten(1, (self.heads, -1)).transpose(0, 1)  # [H, B, d]
        asked = by_head @ to_key.unflatten(0, (self.heads, -1))  # [H, B, D]
        scores = asked.transpose(0, 1) @ others.transpose(1, 2)  # [B, H, n]
        if mask is not None:
            mask = mask.clone()
            mask[:, 0] |= ~mask.any(1)  # attention over nothing is not a number
            scores = scores.masked_fill(~mask.unsqueeze(1), float("-inf"))
        mixed = scores.softmax(-1) @ others  # [B, H, D]
        values = to_value.unflatten(0, (self.heads, -1)).transpose(1, 2)  # [H, D, d]
        found = (mixed.transpose(0, 1) @ values).transpose(0, 1).flatten(1)  # [B, D]
        out: Tensor = self.attention.out_proj(found + value_bias)
        return out
