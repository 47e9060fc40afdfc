"""Tests of significance against counting every possibility, and against scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mmkit.metrics.bootstrap import f1, f1_interval
from mmkit_report.statistics.paired import (
    bootstrap_differences,
    exchanged_differences,
    holm,
    paired,
)


def counted(seed: int, examples: int, skill: float) -> np.ndarray:
    """Counts of a system that finds each gold item with the probability `skill`."""
    draw = np.random.default_rng(seed)
    gold = draw.integers(0, 4, examples)
    correct = draw.binomial(gold, skill)
    return np.stack([correct, correct + draw.integers(0, 2, examples), gold], axis=1)


def as_mean(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones_like(values), np.ones_like(values)], axis=1)


def test_randomisation_approaches_the_share_of_all_exchanges() -> None:
    base, other = counted(1, 10, 0.4), counted(1, 10, 0.8)
    difference = f1(other.sum(0)) - f1(base.sum(0))
    larger = []
    for swapped in itertools.product([False, True], repeat=10):
        mask = np.array(swapped)[:, None]
        moved = f1(np.where(mask, base, other).sum(0)) - f1(np.where(mask, other, base).sum(0))
        larger.append(abs(moved) >= abs(difference) - 1e-12)
    exact = np.mean(larger)
    assert 0.001 < exact < 0.5
    assert paired(base, other, 20_000).p_randomisation == pytest.approx(exact, abs=0.01)


def test_randomisation_agrees_with_scipy_where_the_score_is_a_mean() -> None:
    draw = np.random.default_rng(0)
    base, other = draw.random(30), draw.random(30) + 0.12
    theirs = stats.permutation_test(
        (other, base), lambda a, b: a.mean() - b.mean(), permutation_type="samples", n_resamples=20_000, rng=1
    )
    ours = paired(as_mean(base), as_mean(other), 20_000)
    assert ours.difference == pytest.approx(theirs.statistic)
    assert ours.p_randomisation == pytest.approx(theirs.pvalue, abs=0.015)


def test_the_bootstrap_agrees_with_scipy() -> None:
    base, other = counted(2, 60, 0.5), counted(2, 60, 0.65)

    def difference(rows: np.ndarray) -> float:
        return float(f1(other[rows].sum(0)) - f1(base[rows].sum(0)))

    theirs = stats.bootstrap((np.arange(60),), difference, n_resamples=4_000, method="percentile", rng=1)
    ours = paired(base, other, 4_000)
    low, high = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.01)
    assert np.std(bootstrap_differences(base, other, 4_000)) == pytest.approx(
        theirs.standard_error, abs=0.003
    )


def test_the_interval_of_a_mean_agrees_with_scipy() -> None:
    values = np.random.default_rng(4).random(80)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=5_000, method="percentile", rng=1)
    low, high = theirs.confidence_interval
    assert f1_interval(as_mean(values), 5_000) == pytest.approx((low, high), abs=0.006)


def test_equal_systems_do_not_differ() -> None:
    counts = counted(3, 50, 0.5)
    found = paired(counts, counts, 500)
    assert found == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_p_values_are_even_where_systems_are_equally_good() -> None:
    """Of two draws of one system, about one in twenty differs at the level of 5 %."""
    seen = [paired(counted(2 * i, 80, 0.6), counted(2 * i + 1, 80, 0.6), 300) for i in range(200)]
    gold_differs = [found.p_randomisation for found in seen]
    assert 0.01 <= np.mean(np.array(gold_differs) < 0.05) <= 0.11
    assert 0.01 <= np.mean(np.array([found.p_bootstrap for found in seen]) < 0.05) <= 0.11


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40))
def test_the_order_of_the_systems_changes_only_the_sign(seed: int, examples: int) -> None:
    base, other = counted(seed, examples, 0.3), counted(seed + 1, examples, 0.7)
    one, reverse = paired(base, other, 200), paired(other, base, 200)
    assert one.difference == pytest.approx(-reverse.difference)
    assert one.p_randomisation == reverse.p_randomisation and one.p_bootstrap == reverse.p_bootstrap
    assert 1 / 201 <= one.p_randomisation <= 1 and 1 / 201 <= one.p_bootstrap <= 1
    assert one.low <= one.high


def test_blocks_do_not_change_the_number_of_resamples() -> None:
    base, other = counted(5, 9000, 0.5), counted(6, 9000, 0.5)
    assert (
        len(exchanged_differences(base, other, 1001)) == len(bootstrap_differences(base, other, 1001)) == 1001
    )


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="same examples"):
        paired(counted(1, 5, 0.5), counted(1, 6, 0.5))


def test_nothing_to_compare_is_no_difference() -> None:
    empty = np.zeros((0, 3))
    assert paired(empty, empty, 100).p_randomisation == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
