"""Bootstrap confidence intervals (Efron, 1979) of an F1 over examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 20_221  # fixed, so that equal predictions give equal intervals
CELLS = 1 << 22  # of a block of resamples: bounds memory to some 100 MB


def f1_interval(counts: NDArray[Any], resamples: int) -> tuple[float, float]:
    """The 95 % percentile interval of micro F1 if the examples are drawn again with replacement.

    `counts [N, 3]` are each example's true positives, predicted and gold items.
    """
    draw = np.random.default_rng(SEED)
    scores = []
    for rows in blocks(len(counts), resamples):
        size = (rows, len(counts))
        drawn = draw.integers(len(counts), size=size) if len(counts) else np.empty(size, dtype=np.int64)
        scores.append(f1(counts[drawn].sum(axis=1)))
    low, high = np.percentile(np.concatenate(scores), [2.5, 97.5])
    return float(low), float(high)


def blocks(examples: int, resamples: int) -> Iterator[int]:
    """Sizes of blocks of resamples, which together are all of them: few enough at a time to fit into memory."""
    block = max(1, CELLS // max(1, examples))
    for start in range(0, resamples, block):
        yield min(block, resamples - start)


def f1(counts: NDArray[Any]) -> NDArray[Any]:
    """F1 of counts `[..., 3]` (true positives, predicted, gold); 0 if there is nothing to count."""
    correct, predicted, gold = np.moveaxis(counts, -1, 0)
    total = predicted + gold
    f1: np.ndarray = np.divide(2.0 * correct, total, out=np.zeros(total.shape), where=total > 0)
    return f1
