"""The CRF in a tree of products beside the same step by step: values, gradients, ties, and the number of operations."""

from __future__ import annotations

import copy
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmkit.decoders import chain_scan
from mmkit.decoders.crf import LinearChainCRF

NEVER = float("-inf")
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

chains = st.tuples(
    st.lists(st.integers(0, 19), min_size=1, max_size=4),  # lengths
    st.integers(1, 5),  # number of tags
    st.integers(0, 10_000),  # seed
    st.booleans(),  # constrained
)
many = settings(max_examples=60, deadline=None, derandomize=True)


def both_ways(num_tags: int, seed: int, constrained: bool = False) -> tuple[LinearChainCRF, LinearChainCRF]:
    """The same CRF in float64, step by step and in a tree."""
    draw = torch.Generator().manual_seed(seed)
    allowed = torch.rand(num_tags + 1, num_tags + 1, generator=draw) < 0.7 if constrained else None
    steps = LinearChainCRF(num_tags, allowed).double()
    for parameter in steps.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64) * 2
    tree = copy.deepcopy(steps)
    steps._scan, tree._scan = False, True
    return steps, tree


def inputs(lengths: list[int], num_tags: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    T = max(1, *lengths)
    emissions = torch.randn(len(lengths), T, num_tags, generator=draw, dtype=torch.float64) * 3
    tags = torch.randint(num_tags, (len(lengths), T), generator=draw)
    return emissions, tags, torch.arange(T) < torch.tensor(lengths).unsqueeze(1)


def everything(crf: LinearChainCRF, emissions: Tensor, tags: Tensor, mask: Tensor) -> list[Tensor]:
    """Log-likelihood, log-partition, marginals, and gradients of a function of all of them."""
    emissions = emissions.clone().requires_grad_()
    likelihood, partition = crf.log_likelihood(emissions, tags, mask), crf.log_partition(emissions, mask)
    marginals = crf.log_marginals(emissions, mask)
    weights = torch.linspace(-1, 2, marginals.numel(), dtype=marginals.dtype).view_as(marginals)
    loss = (likelihood * partition).sum() + (marginals.exp() * weights).sum()
    gradients = torch.autograd.grad(loss, (emissions, *crf.parameters()))
    return [likelihood.detach(), partition.detach(), marginals.detach().exp(), *gradients]


@many
@given(chains)
def test_values_and_gradients_are_those_of_the_steps(case):
    lengths, K, seed, constrained = case
    steps, tree = both_ways(K, seed, constrained)
    batch = inputs(lengths, K, seed)
    for expected, found in zip(everything(steps, *batch), everything(tree, *batch), strict=True):
        # a forbidden transition scores -10,000, and gradients are products of sums of such scores
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-7 if constrained else 1e-9)


@many
@given(chains)
def test_float32_is_near_float64(case):
    lengths, K, seed, _ = case
    steps, tree = both_ways(K, seed)
    emissions, tags, mask = inputs(lengths, K, seed)
    emissions = emissions.float()
    exact = everything(steps, emissions.double(), tags, mask)
    for expected, found in zip(exact, everything(tree.float(), emissions, tags, mask), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-3)


@many
@given(chains)
def test_ties_are_decoded_as_step_by_step(case):
    lengths, K, seed, constrained = case
    steps, tree = both_ways(K, seed, constrained)
    for crf in (steps, tree):  # whole numbers from -1 to 1: sums are exact in any order, and ties are many
        for parameter in crf.parameters():
            parameter.data = parameter.data.round().clamp(-1, 1)
    emissions, _, mask = inputs(lengths, K, seed)
    emissions = emissions.round().clamp(-1, 1)
    for expected, found in zip(steps.viterbi(emissions, mask), tree.viterbi(emissions, mask), strict=True):
        assert torch.equal(found, expected)


def test_a_long_chain_is_as_exact_as_step_by_step():
    steps, tree = both_ways(9, seed=1)
    emissions, _, mask = inputs([512, 300], 9, seed=2)
    emissions = (emissions * 10 + 500).float()
    exact = steps.log_marginals(emissions.double(), mask).exp()
    in_steps, in_tree = (
        (crf.float().log_marginals(emissions, mask).exp() - exact).abs().max() for crf in (steps, tree)
    )
    assert in_tree <= 2 * in_steps


def test_impossible_tags_leave_everything_finite():
    steps, tree = both_ways(4, seed=3)
    emissions, tags, mask = inputs([7, 4, 1, 0], 4, seed=4)
    emissions[:, :, 2] = NEVER
    emissions[0, 3, :3] = NEVER
    tags = steps.viterbi(emissions, mask)[0]
    almost = emissions.clamp(min=-1e5)  # step by step, gradients of marginals need finite scores
    expected, found = everything(steps, almost, tags, mask), everything(tree, emissions, tags, mask)
    for one, other in zip(expected, found, strict=True):
        assert torch.isfinite(other).all()
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9)
    for one, other in zip(steps.viterbi(emissions, mask), tree.viterbi(emissions, mask), strict=True):
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize("product", [chain_scan.log_product, chain_scan.max_product])
def test_a_product_without_a_path_is_never(product):
    left, right = torch.full((2, 2), NEVER), torch.tensor([[0.0, NEVER], [1.0, NEVER]])
    left[0] = torch.tensor([0.0, NEVER])
    left.requires_grad_()
    found = product(left, right)
    assert found.tolist() == [[0.0, NEVER], [NEVER, NEVER]]
    gradient = torch.autograd.grad(found[0, 0], left)[0]
    assert gradient.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_sums_in_parts_are_the_same(monkeypatch):
    _, tree = both_ways(5, seed=5, constrained=True)
    batch = inputs([9, 6], 5, seed=6)
    whole, best = everything(tree, *batch), tree.viterbi(batch[0], batch[2])
    largest = []
    reduced = chain_scan._reduced

    def seen(reduce, left, right):
        def reduced_part(sums):
            largest.append((sums.numel(), right.numel()))
            return reduce(sums)

        return reduced(reduced_part, left, right)

    monkeypatch.setattr(chain_scan, "CELLS", 200)
    monkeypatch.setattr(chain_scan, "_reduced", seen)
    for expected, found in zip(whole, everything(tree, *batch), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(tree.viterbi(batch[0], batch[2])[0], best[0])
    assert all(cells <= max(200, one_row) for cells, one_row in largest)


@pytest.mark.parametrize("tags", [1, 255, 256, 300])
@pytest.mark.parametrize("cells", [chain_scan.CELLS, 5000])
def test_the_best_tags_are_those_of_the_steps_for_any_number_of_tags(tags, cells, monkeypatch):
    """With PAD, 255 tags are the last ones whose numbers fit into a byte."""
    monkeypatch.setattr(chain_scan, "CELLS", cells)
    steps, tree = both_ways(tags, seed=9)
    emissions, _, mask = inputs([9, 8, 1], tags, seed=10)
    emissions[:, 3, -1] += 100  # the last tag is among the best
    expected, score = steps.viterbi(emissions, mask)
    found, same_score = tree.viterbi(emissions, mask)
    assert found.dtype == torch.int64 and torch.equal(found, expected)
    assert (found[:2, 3] == tags - 1).all()
    torch.testing.assert_close(same_score, score)


def test_the_tree_of_choices_is_kept_in_bytes(monkeypatch):
    """The largest tensor of whole numbers that lasts: one for every position and tag."""
    _, tree = both_ways(13, seed=11)
    emissions, _, mask = inputs([80, 41], 13, seed=12)
    joined, kept = chain_scan._joined, []

    def watched(rows, dim=-2):
        kept.append(joined(rows, dim))
        return kept[-1]

    monkeypatch.setattr(chain_scan, "_joined", watched)
    tree.viterbi(emissions, mask)
    assert [choices.dtype for choices in kept if not choices.is_floating_point()] == [torch.uint8]


@pytest.mark.parametrize(("tags", "expected"), [(13, True), (chain_scan.MOST_TAGS + 1, False)])
def test_the_device_decides(tags, expected):
    crf = LinearChainCRF(tags)
    assert not crf._in_a_tree(torch.zeros(1, 1, tags))
    assert crf._in_a_tree(torch.zeros(1, 1, tags, device="meta")) is expected


MOST = {"decode": 120, "likelihood, gradient": 160, "log-marginals, gradient": 280}
"""Operations at 80 positions. Step by step they are 318, 542 and 2,165."""


@pytest.mark.parametrize("what", MOST)
def test_operations_are_few_and_grow_with_the_logarithm(what, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("common", "crf"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    from common import operations
    from crf import CALLS

    steps, tree = both_ways(13, seed=7)
    counts = {}
    for length in (80, 160):
        emissions, tags, mask = inputs([length, length // 3], 13, seed=8)
        for name, crf in (("steps", steps), ("tree", tree)):
            counts[name, length] = operations(
                partial(CALLS[what], crf, emissions.requires_grad_(), tags, mask)
            )
    assert counts["tree", 80] <= MOST[what]
    assert counts["tree", 160] <= counts["tree", 80] + 40  # one level more
    assert counts["steps", 80] >= 2.5 * counts["tree", 80]
    assert counts["steps", 160] >= 1.7 * counts["steps", 80]
