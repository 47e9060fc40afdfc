"""Bootstrap intervals: against a plain loop, and as intervals ought to behave."""

from __future__ import annotations

import numpy as np
import pytest

from mmkit.metrics import bootstrap
from mmkit.metrics.bootstrap import SEED, f1, f1_interval


def random_counts(examples: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    gold, predicted = draw.integers(0, 4, size=(2, examples))
    return np.stack([draw.integers(0, np.minimum(gold, predicted) + 1), predicted, gold], axis=1)


def test_equals_a_plain_loop():
    counts, resamples = random_counts(50), 200
    draw, scores = np.random.default_rng(SEED), []
    for _ in range(resamples):
        correct, predicted, gold = counts[draw.integers(50, size=50)].sum(axis=0)
        scores.append(2 * correct / (predicted + gold))
    assert f1_interval(counts, resamples) == pytest.approx(np.percentile(scores, [2.5, 97.5]), abs=1e-12)


def test_blocks_change_nothing(monkeypatch):
    counts = random_counts(40)
    whole = f1_interval(counts, 100)
    monkeypatch.setattr(bootstrap, "CELLS", 40 * 7)
    assert f1_interval(counts, 100) == pytest.approx(whole, abs=1e-12)


def test_more_examples_give_a_narrower_interval_around_f1():
    widths = []
    for copies in (1, 25):
        counts = np.tile(random_counts(60), (copies, 1))
        low, high = f1_interval(counts, 500)
        assert low < f1(counts.sum(axis=0)) < high
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 5, rel=0.25)


def test_equal_examples_leave_nothing_uncertain():
    assert f1_interval(np.tile([[1, 2, 2]], (30, 1)), 100) == (0.5, 0.5)
    assert f1_interval(np.zeros((30, 3), dtype=np.int64), 100) == (0.0, 0.0)
