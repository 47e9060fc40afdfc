"""`tesga.cosine.v1`: TESGA's learning-rate schedule."""

from __future__ import annotations

from mmkit.training.schedules import Factor, course


def ahead(total: int, warmup: int) -> Factor:
    """The cosine with warm-up, one epoch ahead: the authors' code steps it before an epoch.

    So the first of five epochs of warm-up has a fifth of the rate, not zero.
    """
    cosine = course("cosine", total, warmup)
    return lambda n: cosine(n + 1)
