"""Calibration: how often a prediction is right, against the score that the model gave it (Guo et al., ICML 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bin:
    """Predictions with scores in (low, high]: their number, mean score, and the share that is right."""

    low: float
    high: float
    count: int
    score: float
    right: float


@dataclass(frozen=True)
class Calibration:
    """The bins that are not empty, and the expected calibration error: the mean of |right - score|, by count."""

    bins: list[Bin]
    error: float


def calibration(scores: Sequence[float], right: Sequence[bool], bins: int = 10) -> Calibration:
    """Bins of equal width. `scores` are in [0, 1]. Raises `ValueError` for sequences of different lengths."""
    if len(scores) != len(right):
        raise ValueError(f"{len(scores)} scores of {len(right)} predictions")
    values, hits = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.float64)
    place = np.clip(np.ceil(values * bins).astype(int) - 1, 0, bins - 1)
    found = []
    for i in range(bins):
        inside = place == i
        if count := int(inside.sum()):
            means = float(values[inside].mean()), float(hits[inside].mean())
            found.append(Bin(i / bins, (i + 1) / bins, count, *means))
    total = sum(each.count for each in found)
    error = sum(each.count * abs(each.right - each.score) for each in found) / total if total else 0.0
    return Calibration(found, error)
