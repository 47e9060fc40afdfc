"""Which examples make which update."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkit.training.batches import plan_epoch, share

lengths = st.lists(st.integers(1, 90), min_size=1, max_size=120)


@given(lengths, st.integers(1, 17), st.integers(0, 9), st.integers(1, 4), st.sampled_from([1, 2, 100]))
def test_every_example_comes_once_an_epoch(lengths, batch_size, seed, epoch, bucket):
    plan = plan_epoch(lengths, batch_size, seed, epoch, bucket)
    assert sorted(i for batch in plan for i in batch) == list(range(len(lengths)))
    assert max(map(len, plan)) <= batch_size
    assert len(plan) == -(-len(lengths) // batch_size)
    assert plan == plan_epoch(lengths, batch_size, seed, epoch, bucket)


def test_epochs_and_seeds_differ():
    plans = [plan_epoch([5] * 64, 8, seed, epoch, 100) for seed, epoch in [(1, 1), (1, 2), (2, 1)]]
    assert plans[0] != plans[1] and plans[0] != plans[2]


@pytest.mark.parametrize("bucket", [1, 100])
def test_an_epoch_is_shuffled(bucket):
    lengths = [(i * 37) % 80 + 1 for i in range(640)]
    plan = plan_epoch(lengths, 8, seed=0, epoch=1, bucket=bucket)
    assert np.corrcoef(np.arange(640), [i for batch in plan for i in batch])[0, 1] < 0.2
    means = [np.mean([lengths[i] for i in batch]) for batch in plan]
    assert abs(np.corrcoef(np.arange(80), means)[0, 1]) < 0.3, "short batches are not first"


def test_equal_lengths_are_mixed_anew_each_epoch():
    plans = [plan_epoch([5] * 64, 8, 0, epoch, 100) for epoch in (1, 2)]
    assert {frozenset(batch) for batch in plans[0]} != {frozenset(batch) for batch in plans[1]}


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 4))
def test_parts_get_short_and_long_examples_alike(size, accumulate, processes):
    """A batch comes sorted by length: of each run of neighbours every part gets one."""
    shares = [share(list(range(size)), accumulate, rank, processes) for rank in range(processes)]
    for parts in zip(*shares, strict=True):
        indices = sorted(i for part in parts if part.weight for i in part.indices)
        assert [i // len(shares[0]) for i in indices] == list(range(len(indices)))
        dealt = tuple(len(part.indices) if part.weight else 0 for part in parts)
        assert [part.dealt for part in parts] == [dealt] * processes


def test_buckets_save_padding():
    lengths = [(i * 37) % 80 + 1 for i in range(640)]

    def padded(bucket: int) -> int:
        return sum(max(lengths[i] for i in b) * len(b) for b in plan_epoch(lengths, 8, 0, 1, bucket))

    assert padded(100) < 0.7 * padded(1)


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 4))
def test_shares_are_the_batch_and_weights_its_mean(size, accumulate, processes):
    batch = list(range(100, 100 + size))
    values = {i: float(i * i) for i in batch}
    mean = 0.0
    seen = []
    for rank in range(processes):
        parts = share(batch, accumulate, rank, processes)
        assert len(parts) == min(accumulate, size)
        for micro, weight, _ in parts:
            assert micro, "every process takes part in every micro-batch"
            mean += sum(values[i] for i in micro) / len(micro) * weight / processes
            seen += micro if weight else []
    assert sorted(seen) == batch
    assert mean == pytest.approx(sum(values.values()) / size)
