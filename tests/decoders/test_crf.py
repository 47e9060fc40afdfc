"""The CRF against enumeration of every tag sequence, and against pytorch-crf."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
import torchcrf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmkit.decoders.crf import LinearChainCRF

NEVER = float("-inf")


@pytest.fixture(scope="module", autouse=True, params=[False, True], ids=["steps", "tree"])
def way(request) -> Iterator[None]:
    """Everything holds step by step and in a tree."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LinearChainCRF, "_scan", request.param)
        yield


def random_crf(num_tags: int, seed: int, constrained: bool = False, dtype: torch.dtype = torch.float64):
    draw = torch.Generator().manual_seed(seed)
    allowed = None
    if constrained:
        allowed = torch.rand(num_tags + 1, num_tags + 1, generator=draw) < 0.7
    crf = LinearChainCRF(num_tags, allowed).to(dtype)
    for parameter in crf.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=dtype)
    return crf


def random_batch(lengths: list[int], num_tags: int, seed: int, dtype: torch.dtype = torch.float64):
    draw = torch.Generator().manual_seed(seed)
    T = max(1, *lengths)
    emissions = torch.randn(len(lengths), T, num_tags, generator=draw, dtype=dtype) * 2
    tags = torch.randint(num_tags, (len(lengths), T), generator=draw)
    mask = torch.arange(T) < torch.tensor(lengths).unsqueeze(1)
    return emissions, tags, mask


@torch.no_grad()
def score(crf: LinearChainCRF, emissions: Tensor, tags: tuple[int, ...]) -> float:
    """The score of one tag sequence by the definition; -inf if a constraint forbids it."""
    K, path = crf.num_tags, (crf.num_tags, *tags, crf.num_tags)
    if crf.allowed is not None and not all(crf.allowed[i, j] for i, j in itertools.pairwise(path)):
        return NEVER
    total = crf.start_transitions[tags[0]] + crf.end_transitions[tags[-1]]
    total = total + sum(crf.transitions[i, j] for i, j in itertools.pairwise(path) if K not in (i, j))
    return float(total + sum(emissions[t, tag] for t, tag in enumerate(tags)))


def enumerate_paths(crf: LinearChainCRF, emissions: Tensor) -> dict[tuple[int, ...], float]:
    """Every allowed tag sequence and its score, best first."""
    paths = itertools.product(range(crf.num_tags), repeat=len(emissions))
    scores = {path: score(crf, emissions, path) for path in paths}
    allowed = {path: s for path, s in scores.items() if s > NEVER}
    return dict(sorted(allowed.items(), key=lambda item: -item[1]))


batches = st.tuples(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),  # lengths
    st.integers(1, 3),  # number of tags
    st.integers(0, 10_000),  # seed
    st.booleans(),  # constrained
)
enumerated = settings(max_examples=40, deadline=None, derandomize=True)


@enumerated
@given(batches)
def test_log_likelihood_and_marginals_equal_enumeration(case):
    lengths, K, seed, constrained = case
    crf = random_crf(K, seed, constrained)
    emissions, tags, mask = random_batch(lengths, K, seed)
    likelihood, marginals = (
        crf.log_likelihood(emissions, tags, mask),
        crf.log_marginals(emissions, mask).exp(),
    )
    for b, length in enumerate(lengths):
        paths = enumerate_paths(crf, emissions[b, :length])
        if not paths:
            continue
        scores = torch.tensor(list(paths.values()), dtype=torch.float64)
        gold = tuple(tags[b, :length].tolist())
        if gold in paths:
            assert likelihood[b].item() == pytest.approx(paths[gold] - scores.logsumexp(0).item(), abs=1e-9)
        else:
            assert likelihood[b] < -9000
        expected = torch.zeros(length, K, dtype=torch.float64)
        for path, p in zip(paths, scores.softmax(0), strict=True):
            expected[range(length), path] += p
        torch.testing.assert_close(marginals[b, :length].detach(), expected, rtol=1e-9, atol=1e-9)


@enumerated
@given(batches)
def test_scores_and_log_partition_equal_enumeration(case):
    lengths, K, seed, constrained = case
    crf = random_crf(K, seed, constrained)
    emissions, tags, mask = random_batch(lengths, K, seed)
    found, partition = crf.score(emissions, tags, mask), crf.log_partition(emissions, mask)
    torch.testing.assert_close(found - partition, crf.log_likelihood(emissions, tags, mask))
    for b, length in enumerate(lengths):
        paths = enumerate_paths(crf, emissions[b, :length])
        gold = tuple(tags[b, :length].tolist())
        if gold in paths:
            assert found[b].item() == pytest.approx(paths[gold], abs=1e-9)
        if paths:
            total = torch.tensor(list(paths.values()), dtype=torch.float64).logsumexp(0)
            assert partition[b].item() == pytest.approx(total.item(), abs=1e-9)


@pytest.mark.parametrize("method", ["score", "log_likelihood"])
def test_several_sequences_a_row_are_scored_as_each_alone(method):
    crf = random_crf(4, seed=15, constrained=True)
    emissions, _, mask = random_batch([5, 1, 0, 3], 4, seed=16)
    tags = torch.randint(-100, 4, (4, 6, 5), generator=torch.Generator().manual_seed(17))
    tags = torch.where(mask.unsqueeze(1), tags.clamp(min=0), tags)
    together = getattr(crf, method)(emissions, tags, mask)
    alone = [getattr(crf, method)(emissions, tags[:, i], mask) for i in range(6)]
    torch.testing.assert_close(together, torch.stack(alone, dim=1))


@enumerated
@given(batches, st.integers(1, 90))
def test_viterbi_and_n_best_equal_sorted_enumeration(case, n):
    lengths, K, seed, constrained = case
    crf = random_crf(K, seed, constrained)
    emissions, _, mask = random_batch(lengths, K, seed)
    best, best_score = crf.viterbi(emissions, mask)
    tags, scores = crf.viterbi_nbest(emissions, mask, n)
    assert tags.shape == (len(lengths), n, mask.shape[1])
    for b, length in enumerate(lengths):
        paths = list(enumerate_paths(crf, emissions[b, :length]).items())[:n]
        found = [tuple(path[:length]) for path in tags[b, : len(paths)].tolist()]
        assert found == [path for path, _ in paths]
        assert scores[b, : len(paths)].tolist() == pytest.approx([s for _, s in paths], abs=1e-9)
        assert (scores[b, len(paths) :] == NEVER).all()
        assert (tags[b, len(paths) :] == -1).all()
        assert (tags[b, :, length:] == -1).all()
        if paths:
            assert tuple(best[b, :length].tolist()) == paths[0][0]
            assert best_score[b].item() == pytest.approx(paths[0][1], abs=1e-9)
        else:
            assert best_score[b] == NEVER
            assert (best[b] == -1).all()
        assert (best[b, length:] == -1).all()


@pytest.mark.parametrize("ragged", [False, True])
def test_equals_pytorch_crf_with_its_gradients(ragged):
    torch.manual_seed(0)
    B, T, K = 16, 37, 13
    theirs = torchcrf.CRF(K, batch_first=True)
    ours = LinearChainCRF(K)
    ours.load_state_dict(theirs.state_dict())
    lengths = torch.randint(1, T + 1, (B, 1)) if ragged else torch.full((B, 1), T)
    mask, tags = torch.arange(T) < lengths, torch.randint(K, (B, T))
    emissions = (torch.randn(B, T, K) * 3).requires_grad_()

    decoded, _ = ours.viterbi(emissions, mask)
    assert [[t for t in row if t >= 0] for row in decoded.tolist()] == theirs.decode(emissions, mask)

    inputs = (emissions, *theirs.parameters())
    expected = theirs(emissions, tags, mask, reduction="none")
    expected_gradients = torch.autograd.grad(expected.sum(), inputs)
    likelihood = ours.log_likelihood(emissions, tags, mask)
    gradients = torch.autograd.grad(likelihood.sum(), (emissions, *ours.parameters()))
    torch.testing.assert_close(likelihood, expected, rtol=1e-5, atol=1e-4)
    for ours_, theirs_ in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("constrained", [False, True])
def test_gradients_equal_finite_differences(constrained):
    crf = random_crf(3, seed=1, constrained=constrained)
    emissions, tags, mask = random_batch([5, 3, 1], 3, seed=2)
    if crf.allowed is not None:
        tags = crf.viterbi(emissions, mask)[0]
    inputs = (emissions.requires_grad_(), *crf.parameters())
    names = [name for name, _ in crf.named_parameters()]

    def call(method, *more):
        def function(emissions, *parameters):
            state = dict(zip(names, parameters, strict=True))
            return torch.func.functional_call(Method(crf, method), state_of(state), (emissions, *more))

        return function

    assert torch.autograd.gradcheck(call("log_likelihood", tags, mask), inputs)
    assert torch.autograd.gradcheck(call("log_partition", mask), inputs)
    assert torch.autograd.gradcheck(call("score", tags, mask), inputs)
    assert torch.autograd.gradcheck(call("log_marginals", mask), inputs)


class Method(torch.nn.Module):
    """A CRF's method as a module's `forward`, so that `functional_call` can replace the parameters."""

    def __init__(self, crf: LinearChainCRF, method: str) -> None:
        super().__init__()
        self.crf, self.method = crf, method

    def forward(self, *arguments: Tensor) -> Tensor:
        return getattr(self.crf, self.method)(*arguments)


def state_of(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"crf.{name}": value for name, value in parameters.items()}


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), NEVER, 1e30])
def test_masked_positions_change_nothing(poison):
    crf = random_crf(4, seed=3, dtype=torch.float32)
    emissions, tags, mask = random_batch([6, 2, 1], 4, seed=4, dtype=torch.float32)
    outside = ~mask.unsqueeze(2)

    def everything(emissions: Tensor, tags: Tensor) -> list[Tensor]:
        emissions = emissions.clone().requires_grad_()
        likelihood, marginals = crf.log_likelihood(emissions, tags, mask), crf.log_marginals(emissions, mask)
        score, partition = crf.score(emissions, tags, mask), crf.log_partition(emissions, mask)
        loss = likelihood.sum() + marginals.square().sum() + (score * partition).sum()
        gradients = torch.autograd.grad(loss, (emissions, *crf.parameters()))
        best = [*crf.viterbi(emissions, mask), *crf.viterbi_nbest(emissions, mask, 3)]
        values = [value.detach() for value in (likelihood, marginals, score, partition)]
        return [*values, *best, *gradients]

    clean = everything(emissions, tags)
    dirty = everything(emissions.masked_fill(outside, poison), tags.masked_fill(~mask, -100))
    for a, b in zip(clean, dirty, strict=True):
        assert torch.equal(a, b)
    assert (clean[8].masked_select(outside) == 0).all()  # no gradient reaches a masked emission


def test_a_row_without_positions_is_neutral():
    crf = random_crf(3, seed=5)
    emissions, tags, mask = random_batch([4, 0], 3, seed=6)
    emissions.requires_grad_()
    likelihood = crf.log_likelihood(emissions, tags, mask)
    likelihood.sum().backward()
    assert likelihood[1] == 0
    assert (emissions.grad[1] == 0).all()
    assert crf.score(emissions, tags, mask)[1] == 0
    assert crf.log_partition(emissions, mask)[1] == 0
    assert (crf.log_marginals(emissions, mask)[1] == 0).all()
    tags, score = crf.viterbi(emissions, mask)
    assert (tags[1] == -1).all()
    assert score[1] == 0
    tags, scores = crf.viterbi_nbest(emissions, mask, 2)
    assert (tags[1] == -1).all()
    assert scores[1].tolist() == [0, NEVER]


def test_bf16_autocast_computes_in_float32():
    torch.manual_seed(7)
    crf = LinearChainCRF(5)
    emissions, tags, mask = random_batch([30, 11], 5, seed=8, dtype=torch.float32)
    emissions = (emissions * 20).bfloat16()
    expected = crf.log_likelihood(emissions.float(), tags, mask), crf.log_marginals(emissions.float(), mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = crf.log_likelihood(emissions, tags, mask), crf.log_marginals(emissions, mask)
        decoded, score = crf.viterbi(emissions, mask)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)
    assert score.dtype == torch.float32
    assert torch.equal(decoded, crf.viterbi(emissions.float(), mask)[0])


def test_long_sequences_with_large_scores_keep_their_precision():
    crf = random_crf(9, seed=9, dtype=torch.float32)
    emissions, tags, mask = random_batch([512], 9, seed=10, dtype=torch.float32)
    emissions = emissions * 20 + 500
    single, double = crf.log_likelihood(emissions, tags, mask), crf.log_marginals(emissions, mask)
    crf = crf.double()
    expected = crf.log_likelihood(emissions.double(), tags, mask), crf.log_marginals(emissions.double(), mask)
    torch.testing.assert_close(single.double(), expected[0], rtol=1e-6, atol=1e-2)
    torch.testing.assert_close(double.double().exp(), expected[1].exp(), rtol=0, atol=1e-3)


def test_marginals_sum_to_one():
    crf = random_crf(13, seed=11, dtype=torch.float32)
    emissions, _, mask = random_batch([80, 33, 1], 13, seed=12, dtype=torch.float32)
    sums = crf.log_marginals(emissions * 10, mask).exp().sum(2)[mask]
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-4)


def test_nan_emissions_are_decoded_to_nothing():
    crf = random_crf(3, seed=13)
    emissions, _, mask = random_batch([4, 4], 3, seed=14)
    emissions[0, 1] = float("nan")
    tags, score = crf.viterbi(emissions, mask)
    assert (tags[0] == -1).all()
    assert score[0].isnan()
    assert (tags[1] >= 0).all()


def test_state_dict_is_pytorch_crfs():
    constrained = random_crf(4, seed=0, constrained=True)
    assert set(constrained.state_dict()) == set(torchcrf.CRF(4).state_dict())


@pytest.mark.parametrize(
    ("emissions", "mask"),
    [
        (torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)),
        (torch.zeros(2, 0, 3), torch.ones(2, 0, dtype=torch.bool)),
        (torch.zeros(2, 3, 3), torch.ones(2, 4, dtype=torch.bool)),
        (torch.zeros(2, 3, 3), torch.ones(2, 3)),
    ],
)
def test_wrong_shapes_are_refused(emissions, mask):
    with pytest.raises(ValueError, match="must be"):
        LinearChainCRF(3).viterbi(emissions, mask)


@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (2, 1, 2), (6,)])
def test_tags_of_another_shape_are_refused(shape):
    emissions, mask = torch.zeros(2, 3, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"tags must be \[2, 3\] or \[2, n, 3\]"):
        LinearChainCRF(3).score(emissions, torch.zeros(shape, dtype=torch.long), mask)


def test_new_weights_are_small_and_differ():
    torch.manual_seed(0)
    weights = torch.cat([p.flatten() for p in LinearChainCRF(30).parameters()])
    assert weights.abs().max() <= 0.1
    assert weights.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.1)  # as pytorch-crf draws them


def test_wrong_constructions_are_refused():
    with pytest.raises(ValueError, match="at least one tag"):
        LinearChainCRF(0)
    with pytest.raises(ValueError, match=r"allowed must be bool \[4, 4\]"):
        LinearChainCRF(3, torch.ones(3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="n must be at least 1"):
        LinearChainCRF(3).viterbi_nbest(torch.zeros(1, 1, 3), torch.ones(1, 1, dtype=torch.bool), 0)
