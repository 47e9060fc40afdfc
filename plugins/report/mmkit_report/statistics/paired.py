"""Is the difference of two scores more than chance? Tests on the same examples, without assumptions about the score.

A score is that of counts `[N, 3]`: what each example adds to correct, predicted and gold; it is F1 of the sums (see
`mmkit.metrics.base.CountsExamples`). Both systems are counted on the same N examples, in the same order.

- Approximate randomisation (Noreen, 1989, "Computer-intensive methods for testing hypotheses"; Yeh, COLING 2000): if
  the two systems were equal, it would not matter which of them gave which of the two answers to an example.
- The paired bootstrap (Efron and Tibshirani, 1993, "An introduction to the bootstrap", section 16; Koehn, EMNLP
  2004): the examples are drawn again with replacement.

Both p-values are two-sided, and are at least 1 / (resamples + 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkit.metrics.bootstrap import SEED, blocks, f1

ROUNDING = 1e-12  # differences closer than this are equal

Counts = NDArray[Any]


class Paired(NamedTuple):
    """The difference of two scores, `other - base`, its 95 % interval, and how likely chance alone makes it."""

    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_randomisation: float


def paired(base: Counts, other: Counts, resamples: int = 10_000) -> Paired:
    """Compare two systems by their counts `[N, 3]` on the same examples. Raises `ValueError` for other shapes."""
    if base.shape != other.shape or base.ndim != 2 or base.shape[1] != 3:
        raise ValueError(f"counts must be [N, 3] of the same examples, not {base.shape} and {other.shape}")
    difference = _difference(base.sum(axis=0), other.sum(axis=0))
    drawn = bootstrap_differences(base, other, resamples)
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(base) else (0.0, 0.0)
    return Paired(
        float(difference),
        float(low),
        float(high),
        _p_value(drawn - difference, difference),
        _p_value(exchanged_differences(base, other, resamples), difference),
    )


def bootstrap_differences(base: Counts, other: Counts, resamples: int) -> NDArray[np.float64]:
    """`[resamples]`: the difference on examples that are drawn with replacement, the same for both systems."""
    drawn = [_difference(weights @ base, weights @ other) for weights in _drawn(len(base), resamples)]
    return np.concatenate(drawn) if drawn else np.zeros(0)


def exchanged_differences(base: Counts, other: Counts, resamples: int) -> NDArray[np.float64]:
    """`[resamples]`: the difference if of each example, at random, the two systems' answers are exchanged."""
    draw = np.random.default_rng(SEED)
    gain, found = (other - base).astype(np.float64), []
    for size in blocks(len(base), resamples):
        moved = draw.integers(2, size=(size, len(base)), dtype=np.uint8).astype(np.float64) @ gain
        found.append(_difference(base.sum(axis=0) + moved, other.sum(axis=0) - moved))
    return np.concatenate(found) if found else np.zeros(0)


def holm(p_values: list[float]) -> list[float]:
    """p-values corrected for several comparisons (Holm, 1979): the chance of any false one stays below the level."""
    order = np.argsort(p_values, kind="stable")
    corrected, worst = [0.0] * len(p_values), 0.0
    for place, at in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[at]))
        corrected[at] = worst
    return corrected


def _difference(base: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    difference: NDArray[np.float64] = f1(other) - f1(base)
    return difference


def _p_value(by_chance: NDArray[np.float64], difference: NDArray[np.float64]) -> float:
    """How often chance gives a difference at least as large; the data themselves count as one of the draws."""
    as_large = int((np.abs(by_chance) >= abs(difference) - ROUNDING).sum())
    return (as_large + 1) / (len(by_chance) + 1)


def _drawn(examples: int, resamples: int) -> Iterator[NDArray[np.float64]]:
    """Blocks `[R, N]`: how often each resample contains each example."""
    draw = np.random.default_rng(SEED)
    if not examples:
        return
    for size in blocks(examples, resamples):
        yield draw.multinomial(examples, np.full(examples, 1 / examples), size=size).astype(np.float64)
