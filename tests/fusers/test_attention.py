"""Attention of one vector or a sequence over others: it is torch's, and what is absent counts for nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit.fusers.attention import VectorAttention, attend
from raising import raises

REAL = st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5)


@settings(max_examples=30, deadline=None)
@given(real=REAL, asking=st.sampled_from([None, 1, 4]))
def test_attention_sees_what_is_real_and_is_never_nan(real: list[list[bool]], asking: int | None) -> None:
    torch.manual_seed(len(real))
    attention, mask = VectorAttention(8, 2), torch.tensor(real)
    query = torch.randn(len(real), 8) if asking is None else torch.randn(len(real), asking, 8)
    others = torch.randn(len(real), 3, 8)
    together = attention(query, others, mask)
    assert together.shape == query.shape
    for i, row in enumerate(mask):
        seen = others[i, row] if row.any() else others[i, :1]
        torch.testing.assert_close(together[i : i + 1], attention(query[i : i + 1], seen[None]))


@pytest.mark.parametrize("asking", [None, 1, 5])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_attention_is_torch_s_multi_head_attention(count: int, asking: int | None) -> None:
    torch.manual_seed(count)
    attention = VectorAttention(12, 3).double()
    torch.nn.init.normal_(attention.attention.in_proj_bias)
    query = torch.randn(4, asking or 1, 12, dtype=torch.float64, requires_grad=True)
    others = torch.randn(4, count, 12, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(count) < torch.tensor([[count], [1], [max(1, count - 1)], [count]])
    expected, _ = attention.attention(query, others, others, key_padding_mask=~mask)
    found = (
        attention(query[:, 0], others, mask)[:, None] if asking is None else attention(query, others, mask)
    )
    torch.testing.assert_close(found, expected)
    weights = [query, others, *attention.parameters()]
    wanted = torch.autograd.grad(expected.square().sum(), weights)
    gradients = torch.autograd.grad(found.square().sum(), weights, materialize_grads=True)
    for own, torch_s in zip(gradients, wanted, strict=True):  # one vector is found whatever the query is
        torch.testing.assert_close(own, torch_s)


def test_a_sequence_of_queries_finds_what_each_does_alone() -> None:
    torch.manual_seed(0)
    attention, mask = VectorAttention(8, 4), torch.tensor([[True, True, False], [False, False, False]])
    query, others = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    together = attention(query, others, mask)
    for position in range(5):
        torch.testing.assert_close(together[:, position], attention(query[:, position], others, mask))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_two_things_beside_each_other_are_found_as_by_two_calls(count: int, masked: bool) -> None:
    torch.manual_seed(count)
    attention = VectorAttention(8, 2).double()
    torch.nn.init.normal_(attention.attention.in_proj_bias)
    query, single = torch.randn(2, 4, 8, dtype=torch.float64, requires_grad=True).unbind()
    others = torch.randn(4, count, 8, dtype=torch.float64)
    mask = torch.arange(count) < torch.tensor([[count], [0], [1], [count]]) if masked else None
    expected = torch.cat([attention(query, others, mask), attention(query, single.unsqueeze(1))])
    found = torch.cat(attention.beside(query, others, single, mask))
    torch.testing.assert_close(found, expected)
    weights = list(attention.parameters())
    wanted = torch.autograd.grad(expected.square().sum(), weights, materialize_grads=True, retain_graph=True)
    gradients = torch.autograd.grad(found.square().sum(), weights, materialize_grads=True)
    for own, called_twice in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(own, called_twice)


def test_weights_are_dropped_with_the_probability_that_is_said() -> None:
    torch.manual_seed(0)
    key, value = torch.zeros(1, 4000, 2), torch.ones(1, 4000, 2)
    found = attend(torch.zeros(1, 1, 2), key, value, 1, dropout=0.25)
    assert found.mean() == pytest.approx(1, abs=0.05)  # what is kept counts for more
    assert not torch.equal(found, attend(torch.zeros(1, 1, 2), key, value, 1))
    assert attend(torch.zeros(1, 1, 2), key, value, 1, dropout=1.0).eq(0).all()


def test_heads_must_fit_the_width() -> None:
    with raises("part.heads", match="8 .* 3 heads"):
        VectorAttention(8, 3)


def test_in_bf16_one_query_finds_nearly_the_same_with_nearly_the_same_gradients() -> None:
    torch.manual_seed(0)
    attention = VectorAttention(64, 4)
    query, others = torch.randn(6, 64, requires_grad=True), torch.randn(6, 3, 64, requires_grad=True)
    mask = torch.arange(3) < torch.tensor([[3], [1], [2], [0], [3], [2]])
    weights = [query, others, *attention.parameters()]
    exact = attention(query, others, mask)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = attention(query, others, mask)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.02, rtol=0.02)
    wanted = torch.autograd.grad(exact.square().sum(), weights)
    gradients = torch.autograd.grad(rounded.float().square().sum(), weights)
    for own, of_exact in zip(gradients, wanted, strict=True):
        assert own.dtype == torch.float32
        assert (own - of_exact).abs().max() < 0.03 * of_exact.abs().max().clamp(min=1)


def test_others_that_are_not_trained_cost_no_gradient() -> None:
    torch.manual_seed(0)
    attention, query = VectorAttention(8, 2), torch.randn(3, 8, requires_grad=True)
    others = torch.randn(3, 4, 8)
    alone = torch.autograd.grad(attention(query, others).sum(), query)[0]
    both = torch.autograd.grad(attention(query, others.requires_grad_()).sum(), [query, others])
    torch.testing.assert_close(both[0], alone)
    assert both[1].abs().sum() > 0
