"""Which examples make which update: shuffled, sorted into buckets by length, and determined by (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Share(NamedTuple):
    """One process's part of a micro-batch."""

    indices: list[int]
    weight: float
    """The weight of its mean loss in the update's mean, times the number of processes, which average gradients."""
    dealt: tuple[int, ...] = (0,)
    """How many examples of the micro-batch each process has; 0: it repeats one."""


def plan_epoch(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int, bucket: int
) -> list[list[int]]:
    """Cut an epoch into batches of `batch_size` examples of similar length, in random order.

    Examples are shuffled, sorted by length within pools of `bucket` batches, cut, and the batches shuffled: little
    padding, but another mixture in each epoch. Every example occurs once; the last batch of a pool may be smaller.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    if bucket > 1:
        lengths_of = np.asarray(lengths)
        pool = batch_size * bucket
        pools = [order[at : at + pool] for at in range(0, len(order), pool)]
        order = np.concatenate([p[np.argsort(lengths_of[p], kind="stable")] for p in pools] or [order])
    batches = [order[at : at + batch_size].tolist() for at in range(0, len(order), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))] if bucket > 1 else batches


def share(batch: Sequence[int], accumulate: int, rank: int, processes: int) -> list[Share]:
    """This process's micro-batches of a global batch; strided, so that lengths are spread evenly.

    A process always gets at least one example (a repeated one has no weight), because every process must take part in
    every update.
    """
    parts = [list(batch[at::accumulate]) for at in range(min(accumulate, len(batch)))]
    shares = []
    for part in parts:
        own, dealt = part[rank::processes], tuple(len(part[r::processes]) for r in range(processes))
        shares.append(Share(own or part[:1], len(own) * processes / len(batch), dealt))
    return shares
