"""The stand-in for CUDA graphs: what it repeats, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.training.graphs.tape import Tape


def test_a_replay_reads_memory_anew_and_writes_to_the_same_place() -> None:
    x, out = torch.arange(3.0), torch.zeros(3)

    def double() -> Tensor:
        out.copy_(x * 2)
        return out.sum()

    played = Tape().record(double)
    total = played.replay()
    assert total == 6 and out.tolist() == [0, 2, 4]
    x.fill_(5)
    assert played.replay() is total
    assert total == 30 and out.tolist() == [10, 10, 10]


def test_what_python_computes_is_done_once() -> None:
    x, calls = torch.ones(2), []

    def scaled() -> Tensor:
        calls.append(1)
        return x * len(calls)

    played = Tape().record(scaled)
    assert [played.replay().tolist() for _ in range(3)] == [[1, 1]] * 3
    assert len(calls) == 1


def test_views_in_place_operations_and_gradients_are_repeated() -> None:
    weight, x = nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 4.0]])), torch.tensor([[1.0, 2.0]])

    def step() -> Tensor:
        loss = (F.linear(x, weight).view(-1).relu_() ** 2).sum()
        loss.backward()
        with torch.no_grad():
            weight.sub_(weight.grad, alpha=0.1)
        weight.grad = None
        return loss.detach()

    expected, other = [], nn.Parameter(weight.detach().clone())
    for values in ([1.0, 2.0], [2.0, -1.0], [0.5, 0.5]):
        loss = (F.linear(torch.tensor([values]), other).relu() ** 2).sum()
        (gradient,) = torch.autograd.grad(loss, other)
        expected.append(loss.item())
        other.data.sub_(gradient, alpha=0.1)

    played = Tape().record(step)
    found = [played.replay().item()]
    for values in ([2.0, -1.0], [0.5, 0.5]):
        x.copy_(torch.tensor([values]))
        found.append(played.replay().item())
    assert found == expected
    assert torch.equal(weight, other)


def test_random_numbers_follow_the_seed_of_each_replay() -> None:
    x = torch.ones(50)

    def dropped(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return F.dropout(x, 0.5)

    torch.manual_seed(1)
    played = Tape().record(lambda: F.dropout(x, 0.5))
    assert torch.equal(played.replay(), dropped(1))
    for seed in (2, 1):
        torch.manual_seed(seed)
        replayed = played.replay().clone()
        assert torch.equal(replayed, dropped(seed))


MASK, ROWS, VALUES = torch.tensor([True, False]), torch.tensor([1, 0]), torch.tensor([3.0, 4.0])
FIRST = torch.tensor([True, True, False])


@pytest.mark.parametrize(
    "function",
    [
        lambda: VALUES.sum().item(),
        lambda: bool(MASK.any()),
        MASK.nonzero,
        lambda: VALUES[MASK],
        lambda: VALUES.masked_select(MASK),
        lambda: torch.zeros(3).index_put_((FIRST,), VALUES),
        ROWS.unique,
        lambda: torch.equal(VALUES, VALUES),
        lambda: VALUES + torch.tensor([1.0, 2.0]),
    ],
    ids=["item", "bool", "nonzero", "index", "select", "put", "unique", "equal", "numbers"],
)
def test_what_waits_for_a_device_is_refused(function) -> None:
    with pytest.raises(RuntimeError, match="waits for the device"):
        Tape().record(function)


@pytest.mark.parametrize(
    "function",
    [
        lambda: VALUES[ROWS],
        lambda: VALUES.masked_fill(MASK, 0.0),
        lambda: torch.where(MASK, VALUES, 0.0),
        lambda: VALUES.clone().index_put_((ROWS,), VALUES),
        lambda: torch.zeros(3) + 1,
        lambda: VALUES.topk(1).values,
    ],
    ids=["rows", "fill", "where", "put", "zeros", "topk"],
)
def test_what_does_not_wait_is_recorded(function) -> None:
    expected = function()
    played = Tape().record(function)
    assert [torch.equal(played.replay(), expected) for _ in range(2)] == [True, True]
