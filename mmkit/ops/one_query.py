"""Attention of one query an example over its vectors, whose cost hardly grows with their number.

A head's scores are (W_k^T q) · x and what it finds is W_v Σ a x, so the keys' and values' layers are applied to the
query and to the sum, not to each vector. The gradient is written out: each tensor `[B, H, D]` is made in the order in
which it is read, and none is copied into another order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def attend_once(
    query: Tensor, others: Tensor, to_key: Tensor, to_value: Tensor, heads: int, hidden: Tensor | None = None
) -> Tensor:
    """What `query [B, D]`, already projected, finds in `others [B, n, D]`: `[B, D]`, heads side by side.

    `to_key` and `to_value` `[D, D]` are the layers of keys and values, without biases: a key's shifts all scores
    alike, and a value's is added to what is found. Vectors where `hidden [B, n]` is True do not count; one of each
    example must. Scores are normalised in float32 at least. All tensors have one dtype.
    """
    found: Tensor = _OneQuery.apply(query, others, to_key, to_value, heads, hidden)
    return found


def weights_of(
    query: Tensor, others: Tensor, to_key: Tensor, heads: int, hidden: Tensor | None = None
) -> Tensor:
    """How much each head of `attend_once` attends to each vector: `[B, H, n]`; a row sums to 1."""
    asked = (_heads(query, heads) @ _by_head(to_key, heads)).transpose(0, 1)
    return _weights(asked, others, _scale(query, heads), hidden)


class _OneQuery(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        others: Tensor,
        to_key: Tensor,
        to_value: Tensor,
        heads: int,
        hidden: Tensor | None,
    ) -> Tensor:
        asked = _into(_heads(query, heads), _by_head(to_key, heads))
        weights = _weights(asked, others, _scale(query, heads), hidden)
        mixed = weights @ others  # [B, H, D]
        ctx.save_for_backward(query, others, to_key, to_value, asked, weights, mixed)
        ctx.heads = heads
        return _out_of(mixed, _by_head(to_value, heads))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, others, to_key, to_value, asked, weights, mixed = ctx.saved_tensors
        heads: int = ctx.heads
        by_head = _heads(gradient.contiguous(), heads)
        of_value = by_head.transpose(1, 2) @ mixed.transpose(0, 1)  # [H, d, D]
        of_mixed = _into(by_head, _by_head(to_value, heads))
        of_weights = _wide(of_mixed @ others.transpose(1, 2))
        wide = _wide(weights)
        of_scores = wide * (of_weights - (wide * of_weights).sum(2, keepdim=True)) * _scale(query, heads)
        of_scores = of_scores.to(query.dtype)
        of_others = None
        if ctx.needs_input_grad[1]:
            of_others = torch.baddbmm(weights.transpose(1, 2) @ of_mixed, of_scores.transpose(1, 2), asked)
        of_asked = of_scores @ others  # [B, H, D]
        of_key = _heads(query, heads).transpose(1, 2) @ of_asked.transpose(0, 1)
        of_query = _out_of(of_asked, _by_head(to_key, heads))
        return of_query, of_others, of_key.flatten(0, 1), of_value.flatten(0, 1), None, None


def _heads(x: Tensor, heads: int) -> Tensor:
    """`[B, D]` → `[H, B, d]`."""
    split: Tensor = x.unflatten(1, (heads, -1))
    return split.transpose(0, 1)


def _by_head(layer: Tensor, heads: int) -> Tensor:
    """`[D, D]` → `[H, d, D]`."""
    split: Tensor = layer.unflatten(0, (heads, -1))
    return split


def _into(x: Tensor, layers: Tensor) -> Tensor:
    """Each head's part `[H, B, d]` through its layer `[H, d, D]`: `[B, H, D]`."""
    made = x.new_empty(x.shape[1], x.shape[0], layers.shape[2])
    torch.bmm(x, layers, out=made.transpose(0, 1))
    return made


def _out_of(x: Tensor, layers: Tensor) -> Tensor:
    """`[B, H, D]` through each head's layer `[H, d, D]`, transposed: `[B, D]`."""
    made = x.new_empty(*x.shape[:2], layers.shape[1])
    torch.bmm(x.transpose(0, 1), layers.transpose(1, 2), out=made.transpose(0, 1))
    return made.flatten(1)


def _weights(asked: Tensor, others: Tensor, scale: float, hidden: Tensor | None) -> Tensor:
    """`[B, H, n]` in the dtype of `asked [B, H, D]`."""
    scores = _wide(asked @ others.transpose(1, 2)) * scale
    if hidden is not None:
        scores = scores.masked_fill(hidden.unsqueeze(1), float("-inf"))
    return scores.softmax(2).to(asked.dtype)


def _scale(query: Tensor, heads: int) -> float:
    return float((query.shape[1] // heads) ** -0.5)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
