"""`tesga.cosine.v1`: the course of TESGA's learning rate."""

from __future__ import annotations

from mmkit.training.schedules import Factor, course


def ahead(total: int, warmup: int) -> Factor:
    """The cosine with warm-up, one epoch ahead: the authors' code steps it before an epoch.

    So the first of five epochs of warm-up runs at a fifth of the rate, not at none.
    """
    cosine = course("cosine", total, warmup)
    return lambda n: cosine(n + 1)
