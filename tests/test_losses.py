"""Losses against plain float64 loops over the published formulas, and their behaviour at the edges."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from mmkit.ops.losses import circle_loss, clip_loss, n_pair_loss, triplet_loss, unit

B, D, M = 5, 7, 9


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def case(own: bool, seed: int = 0, dtype: torch.dtype = torch.float32):
    """Query, positive, negatives (shared or each query's own) and a mask that excludes some, all in one row."""
    negatives = draw(B, M, D, seed=seed + 2, dtype=dtype) if own else draw(M, D, seed=seed + 2, dtype=dtype)
    excluded = draw(B, M, seed=seed + 3) > 0.5
    excluded[2] = True
    return draw(B, D, seed=seed, dtype=dtype), draw(B, D, seed=seed + 1, dtype=dtype), negatives, excluded


def dot(a: Tensor, b: Tensor) -> float:
    return math.fsum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


def cosine(a: Tensor, b: Tensor) -> float:
    norms = math.sqrt(dot(a, a)) * math.sqrt(dot(b, b))
    return dot(a, b) / norms if norms else 0.0


def rows(negatives: Tensor, excluded: Tensor | None, b: int) -> list[Tensor]:
    """The negatives that count for query b."""
    own = negatives[b] if negatives.dim() == 3 else negatives
    return [own[i] for i in range(len(own)) if excluded is None or not excluded[b, i]]


def plain_n_pair(query, positive, negatives, excluded, l2=0.02) -> float:
    total = 0.0
    for b, (q, e) in enumerate(zip(query, positive, strict=True)):
        terms = (math.exp(dot(q, n) - dot(q, e)) for n in rows(negatives, excluded, b))
        total += math.log(1 + math.fsum(terms)) + l2 * (dot(q, q) + dot(e, e))
    return total / len(query)


def plain_triplet(query, positive, negatives, excluded, margin=0.25) -> float:
    total = 0.0
    for b, (q, e) in enumerate(zip(query, positive, strict=True)):
        costs = [max(0.0, margin + cosine(q, n) - cosine(q, e)) for n in rows(negatives, excluded, b)]
        total += sum(costs) / len(costs) if costs else 0.0
    return total / len(query)


def plain_circle(query, positive, negatives, excluded, margin=0.25, scale=32.0, weights=None) -> float:
    """`weights(cosine, positive)` stands for the formula's own weights if given."""
    total = 0.0
    for b, (q, e) in enumerate(zip(query, positive, strict=True)):
        s = cosine(q, e)
        pull = math.exp(-scale * max(0, 1 + margin - s) * (s - (1 - margin)))
        far = [cosine(q, n) for n in rows(negatives, excluded, b)]
        push = math.fsum(math.exp(scale * max(0, f + margin) * (f - margin)) for f in far)
        total += math.log(1 + push * pull)
    return total / len(query)


def plain_clip(left, right, scale, same) -> float:
    total, k = 0.0, math.exp(float(scale))
    for one, other in ((left, right), (right, left)):
        for i in range(len(one)):
            logits = [k * cosine(one[i], other[j]) for j in range(len(one)) if j == i or not same[i, j]]
            total += math.log(math.fsum(math.exp(x) for x in logits)) - k * cosine(one[i], other[i])
    return total / (2 * len(left))


PAIRED = [
    pytest.param(n_pair_loss, plain_n_pair, id="n_pair"),
    pytest.param(triplet_loss, plain_triplet, id="triplet"),
    pytest.param(circle_loss, plain_circle, id="circle"),
]


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "excluded"])
@pytest.mark.parametrize(("loss", "plain"), PAIRED)
def test_equals_the_plain_formula(loss, plain, own, masked):
    query, positive, negatives, excluded = case(own)
    excluded = excluded if masked else None
    expected = plain(query.double(), positive.double(), negatives.double(), excluded)
    assert loss(query, positive, negatives, excluded=excluded).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("loss", "plain"), PAIRED)
def test_one_query(loss, plain):
    query, positive, negatives, _ = case(own=False)
    found = loss(query[:1], positive[:1], negatives[:1]).item()
    assert found == pytest.approx(plain(query[:1], positive[:1], negatives[:1], None), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "settings"),
    [
        (n_pair_loss, {"l2": 0.5}),
        (triplet_loss, {"margin": 0.6}),
        (circle_loss, {"margin": 0.4, "scale": 8.0}),
    ],
)
def test_settings_count(loss, settings):
    plain = {n_pair_loss: plain_n_pair, triplet_loss: plain_triplet, circle_loss: plain_circle}[loss]
    query, positive, negatives, _ = case(own=False)
    expected = plain(query, positive, negatives, None, **settings)
    assert loss(query, positive, negatives, **settings).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("loss", [n_pair_loss, triplet_loss])
def test_gradients_equal_finite_differences(loss, own):
    query, positive, negatives, excluded = case(own, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (query, positive, negatives)]
    assert torch.autograd.gradcheck(partial(loss, excluded=excluded), inputs)


def test_the_circle_losss_weights_carry_no_gradient():
    margin, scale = 0.25, 3.0
    query, positive, negatives, _ = case(own=True, dtype=torch.float64)
    query.requires_grad_()
    circle_loss(query, positive, negatives, margin=margin, scale=scale).backward()

    q = query.detach().clone().requires_grad_()
    near, far = (unit(q) * unit(positive)).sum(1), (unit(q).unsqueeze(1) * unit(negatives)).sum(2)
    # The paper's derivatives of the loss in both cosines: (1 - exp(-loss)) γ times the weights.
    s, f = near.detach(), far.detach()
    push = torch.exp(scale * (f + margin).relu() * (f - margin))
    pull = torch.exp(-scale * (1 + margin - s) * (s - 1 + margin))
    z = 1 - 1 / (1 + push.sum(1) * pull)
    by_far = z.unsqueeze(1) * push / push.sum(1, keepdim=True) * scale * (f + margin).relu() / B
    by_near = -z * scale * (1 + margin - s) / B
    (near * by_near).sum().backward(retain_graph=True)
    (far * by_far).sum().backward()
    torch.testing.assert_close(query.grad, q.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", [n_pair_loss, triplet_loss, circle_loss])
def test_excluded_negatives_weigh_nothing(loss):
    query, positive, negatives, excluded = case(own=False)
    inputs = [x.requires_grad_() for x in (query, positive, negatives)]
    gradient = torch.autograd.grad(loss(*inputs, excluded=excluded), inputs)
    everywhere = torch.ones_like(excluded)
    nothing = loss(*inputs, excluded=everywhere)
    assert all(g.isfinite().all() for g in gradient)
    assert (torch.autograd.grad(nothing, negatives, retain_graph=True)[0] == 0).all()
    without = loss(query, positive, negatives[:0])
    assert nothing.item() == without.item()
    if loss is not n_pair_loss:  # whose norms always cost
        assert without.item() == 0


def test_products_whose_exp_overflows():
    query, positive, negatives, _ = case(own=False)
    query, positive, negatives = 100 * query, 100 * positive, 100 * negatives
    inputs = [x.requires_grad_() for x in (query, positive, negatives)]
    found = n_pair_loss(*inputs, l2=0.0)
    with pytest.raises(OverflowError):
        plain_n_pair(query, positive, negatives, None)
    products = query.double() @ negatives.double().t() - (query.double() * positive.double()).sum(
        1, keepdim=True
    )
    assert found.item() == pytest.approx(products.amax(1).clamp(min=0).mean().item(), rel=1e-5)
    assert all(g.isfinite().all() for g in torch.autograd.grad(found, inputs))


@pytest.mark.parametrize("loss", [triplet_loss, circle_loss])
def test_zero_vectors_have_cosine_zero_and_a_finite_gradient(loss):
    query, positive, negatives, _ = case(own=True)
    query[0] = positive[1] = negatives[2, :3] = 0
    inputs = [x.requires_grad_() for x in (query, positive, negatives)]
    found = loss(*inputs)
    plain = plain_triplet if loss is triplet_loss else plain_circle
    assert found.item() == pytest.approx(plain(query, positive, negatives, None), rel=1e-5)
    assert all(g.abs().max() < 1e3 for g in torch.autograd.grad(found, inputs))


@pytest.mark.parametrize("loss", [n_pair_loss, triplet_loss, circle_loss])
def test_autocast_changes_nothing(loss):
    query, positive, negatives, excluded = case(own=False)
    half = [x.bfloat16() for x in (query, positive, negatives)]
    expected = loss(*(x.float() for x in half), excluded=excluded)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(*half, excluded=excluded)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


# The CLIP loss


def test_clip_equals_the_plain_formula():
    left, right, scale = draw(B, D), draw(B, D, seed=1), torch.tensor(0.5)
    nothing = torch.zeros(B, B, dtype=torch.bool)
    expected = plain_clip(left, right, scale, nothing)
    assert clip_loss(left, right, scale).item() == pytest.approx(expected, rel=1e-5)

    keys = torch.tensor([3, 1, 3, 2, 1])
    same = keys.unsqueeze(1) == keys
    masked = plain_clip(left, right, scale, same)
    assert masked != pytest.approx(expected, rel=1e-2)
    assert clip_loss(left, right, scale, same=same).item() == pytest.approx(masked, rel=1e-5)


def test_clip_gradients_equal_finite_differences():
    same = torch.eye(B, dtype=torch.bool)
    same[0, 3] = same[3, 0] = True
    inputs = [draw(B, D, dtype=torch.float64), draw(B, D, seed=1, dtype=torch.float64)]
    inputs.append(torch.tensor(1.3, dtype=torch.float64))
    assert torch.autograd.gradcheck(partial(clip_loss, same=same), [x.requires_grad_() for x in inputs])


def test_clip_of_one_pair_of_twins_and_of_zeros():
    scale = torch.tensor(2.0)
    assert clip_loss(draw(1, D), draw(1, D, seed=1), scale).item() == 0
    everything = torch.ones(B, B, dtype=torch.bool)
    assert clip_loss(draw(B, D), draw(B, D, seed=1), scale, same=everything).item() == 0
    left = torch.zeros(B, D, requires_grad=True)
    loss = clip_loss(left, draw(B, D), scale)
    assert loss.item() == pytest.approx(math.log(B))
    assert torch.autograd.grad(loss, left)[0].abs().max() < 1e3


def test_clip_under_autocast_and_with_a_large_scale():
    left, right, scale = draw(B, D).bfloat16(), draw(B, D, seed=1).bfloat16(), torch.tensor(9.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = clip_loss(left, right, scale)
    assert found.dtype == torch.float32
    assert found.isfinite()
    assert torch.equal(found, clip_loss(left.float(), right.float(), scale))


def test_the_gradient_of_unit_vectors_is_right_also_at_zero():
    torch.manual_seed(0)
    x = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit, x)
    zero = torch.zeros(2, 4, requires_grad=True)
    gradient = torch.randn(2, 4)
    assert torch.equal(torch.autograd.grad(unit(zero), zero, gradient)[0], gradient)
