"""Attention of one vector of an example, or a sequence of them, over several others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.errors import PartError
from mmkit.ops.one_query import attend_once, weights_of


def check_heads(width: int, heads: int) -> None:
    """Raise `PartError` unless an attention of this width can be cut into so many heads."""
    if heads < 1 or width % heads:
        raise PartError(
            f"an attention of width {width} cannot be divided into {heads} heads",
            hint="change `heads` of the fuser",
            code="part.heads",
        )


def attend(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Scaled dot-product attention with several heads (Vaswani et al., 2017), between the linear layers around it.

    `query [B, S, D]`, `key [B, n, D]` and `value [B, n, D]` are projected already. Returns what each query finds, its
    heads side by side, `[B, S, D]`. Keys count where `mask [B, n]` is True; a row without any attends to its first.
    `dropout` is the probability that a weight is dropped: 0 outside training.
    """

    def by_head(x: Tensor) -> Tensor:
        """`[B, L, D]` → `[B, heads, L, D / heads]`."""
        split: Tensor = x.unflatten(2, (heads, -1))
        return split.transpose(1, 2)

    found = F.scaled_dot_product_attention(
        by_head(query),
        by_head(key),
        by_head(value),
        attn_mask=None if mask is None else never_empty(mask)[:, None, None],
        dropout_p=dropout,
    )
    joined: Tensor = found.transpose(1, 2).flatten(2)
    return joined


class _Layers(NamedTuple):
    """The parts of an attention's first layer, `[D, D]` and `[D]`, cut out once for all that is asked of it."""

    to_query: Tensor
    query_bias: Tensor
    to_key: Tensor
    to_value: Tensor
    value_bias: Tensor


class VectorAttention(nn.Module):
    """Multi-head attention without dropout. The query is one vector an example (a mention), or a sequence of them.

    It computes what `nn.MultiheadAttention` does, whose parameters it has. With one query, its cost hardly grows with
    the number of others (see `mmkit.ops.one_query`).

    Raises `PartError` unless the width can be divided by the number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, query: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
        """What `query [B, D]` or `[B, S, D]` finds in `others [B, n, D]`, in the query's shape.

        `mask [B, n]` is True where a vector is real. An example without any attends to its first, whatever it holds.
        """
        if query.dim() == 3:
            return self._sequence(query, others, mask)
        out: Tensor = self.attention.out_proj(self._found(query, others, mask, self._layers()))
        return out

    def beside(
        self, query: Tensor, others: Tensor, single: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What `query [B, D]` finds in `others [B, n, D]`, and what it finds in `single [B, D]` alone.

        As two calls find it, but both use the layers together.
        """
        layers = self._layers()
        found = self._found(query, others, mask, layers)
        only = F.linear(single, layers.to_value, layers.value_bias)  # all attention goes to the only one
        in_others, in_single = self.attention.out_proj(torch.cat([found, only])).chunk(2)
        return in_others, in_single

    def weights(self, query: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
        """How much each head attends to each of `others [B, n, D]`, for `query [B, D]`: `[B, heads, n]`."""
        layers = self._layers()
        asked, others = self._asked(query, others, layers)
        return weights_of(asked, others, layers.to_key, self.heads, _hidden(mask))

    def _layers(self) -> _Layers:
        """Under autocast in its dtype: the whole layer is converted once, not each part where it is used."""
        weight: Tensor = self.attention.in_proj_weight
        kind = weight.device.type
        if torch.is_autocast_enabled(kind):
            weight = weight.to(torch.get_autocast_dtype(kind))
        to_query, to_key, to_value = weight.chunk(3)
        query_bias, _, value_bias = self.attention.in_proj_bias.chunk(3)  # a key's shifts all scores alike
        return _Layers(to_query, query_bias, to_key, to_value, value_bias)

    def _asked(self, query: Tensor, others: Tensor, layers: _Layers) -> tuple[Tensor, Tensor]:
        """The query after its layer, and the others, in the dtype of the layers."""
        return F.linear(query, layers.to_query, layers.query_bias), others.to(layers.to_key.dtype)

    def _found(self, query: Tensor, others: Tensor, mask: Tensor | None, layers: _Layers) -> Tensor:
        """What `forward` gives to the last layer, `[B, D]`."""
        if others.shape[1] == 1:  # all attention goes to the only one
            return F.linear(others[:, 0], layers.to_value, layers.value_bias)
        asked, others = self._asked(query, others, layers)
        found = attend_once(asked, others, layers.to_key, layers.to_value, self.heads, _hidden(mask))
        return found + layers.value_bias

    def _sequence(self, query: Tensor, others: Tensor, mask: Tensor | None) -> Tensor:
        """`[B, S, D]`: each of the others is projected once, for all queries."""
        weights, biases = self.attention.in_proj_weight.chunk(3), self.attention.in_proj_bias.chunk(3)
        asked, keys, values = map(F.linear, (query, others, others), weights, biases)
        out: Tensor = self.attention.out_proj(attend(asked, keys, values, self.heads, mask))
        return out


def never_empty(mask: Tensor) -> Tensor:
    """The mask `[B, n]` with its first place True in a row that has none: attention over nothing is not a number."""
    mask = mask.clone()
    mask[:, 0] |= ~mask.any(1)
    return mask


def _hidden(mask: Tensor | None) -> Tensor | None:
    """Where a mask `[B, n]` hides a vector; each row shows one at least."""
    return None if mask is None else ~never_empty(mask)
