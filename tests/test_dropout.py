"""Dropout with masks of random bits: the share that is dropped, the scale, gradients, seeds, and what stays torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmkit.ops.dropout import Dropout, dropout, with_fast_dropout


@pytest.mark.parametrize("p", [0.001, 0.1, 0.4, 0.9])
def test_the_right_share_is_dropped_and_the_rest_scaled(p):
    torch.manual_seed(0)
    size = 400_000
    dropped = dropout(torch.ones(size), p)
    share = (dropped == 0).double().mean().item()
    assert share == pytest.approx(p, abs=5 * (p * (1 - p) / size) ** 0.5)
    assert dropped[dropped != 0].unique().tolist() == pytest.approx([1 / (1 - p)], rel=2e-4)
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)


def test_neighbours_are_independent():
    torch.manual_seed(1)
    kept = dropout(torch.ones(100_000, 4), 0.3).ne(0).double()  # four numbers share 64 bits
    assert torch.corrcoef(kept.t()).sub(torch.eye(4)).abs().max() < 0.02
    assert kept.mean(0).tolist() == pytest.approx([0.7] * 4, abs=0.01)


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 0), (7, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_gradients_are_the_mask(shape, dtype):
    torch.manual_seed(2)
    x = torch.ones(shape, dtype=dtype, requires_grad=True)
    found = dropout(x, 0.5)
    assert found.shape == shape
    assert found.dtype == dtype
    assert torch.equal(torch.autograd.grad(found.sum(), x)[0], found.detach())  # of ones


def test_the_seed_decides():
    x = torch.randn(50, 7)
    torch.manual_seed(3)
    first, after = dropout(x, 0.2), dropout(x, 0.2)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.2), first)
    assert not torch.equal(first, after)


def test_nothing_is_drawn_outside_training_or_at_the_ends():
    x = torch.randn(20)
    state = torch.get_rng_state()
    layer = Dropout(0.5).eval()
    assert torch.equal(layer(x), x)
    assert torch.equal(dropout(x, 0.0), x)
    assert torch.equal(torch.get_rng_state(), state)
    assert (dropout(x, 1.0) == 0).all()
    with pytest.raises(ValueError, match="dropout probability"):
        dropout(x, 1.5)


def test_a_network_keeps_its_rates_and_names():
    network = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.25), nn.Sequential(nn.Dropout(0.5)))
    names = [name for name, _ in network.named_modules()]
    with_fast_dropout(network)
    assert [name for name, _ in network.named_modules()] == names
    assert type(network[1]) is type(network[2][0]) is Dropout
    assert (network[1].p, network[2][0].p) == (0.25, 0.5)
    torch.manual_seed(4)
    found = network.train()(torch.randn(5, 3))
    assert torch.isfinite(found).all()
    x = torch.randn(5, 3)
    assert torch.equal(network.eval()(x), F.linear(x, network[0].weight, network[0].bias))
