"""Which examples make which update: shuffled, bucketed by length, and known from (seed, epoch) alone."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from mmkit.batch import Batch
from mmkit.errors import MMKitError
from mmkit.model import Item, Model


class Share(NamedTuple):
    """One process's part of a micro-batch."""

    indices: list[int]
    weight: float
    """What its mean loss counts in the update's mean, times processes, over which gradients are averaged."""


def plan_epoch(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int, bucket: int
) -> list[list[int]]:
    """Cut an epoch into batches of `batch_size` examples of similar length, in random order.

    Examples are shuffled, sorted by length within pools of `bucket` batches, cut, and the batches shuffled: little
    padding, yet another mixture each epoch. Every example comes once; the last batch of a pool may be smaller.
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

    A process always gets at least one example (a repeated one weighs nothing), because every process has to take
    part in every update.
    """
    parts = [list(batch[at::accumulate]) for at in range(min(accumulate, len(batch)))]
    return [
        Share(part[rank::processes] or part[:1], len(part[rank::processes]) * processes / len(batch))
        for part in parts
    ]


class Loader:
    """Collates micro-batches ahead of the device, in `workers` other processes if there are any."""

    def __init__(self, model: Model, items: Sequence[Item], workers: int, *, targets: bool = True) -> None:
        self.items, self.workers = items, workers
        self.collate = partial(_collated, partial(model.collate, targets=targets))
        self.pin = model.device.type == "cuda"

    def __call__(self, micro_batches: Sequence[list[int]]) -> Iterator[Batch]:
        """Batches in order; a fresh pass each call, its random state apart from the model's.

        Raises what the model's parts raise, also if they run in a worker.
        """
        context = None
        if self.workers:
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive a fork
            context = (
                "fork" if sys.platform == "linux" else None
            )  # workers share the items, and start at once
        generator = torch.Generator()  # keeps the loader from drawing on the model's random numbers
        generator.manual_seed(0)
        loader: DataLoader[Batch | MMKitError] = DataLoader(
            self.items,  # type: ignore[arg-type]
            batch_sampler=micro_batches,  # type: ignore[arg-type]
            collate_fn=self.collate,
            num_workers=self.workers,
            pin_memory=self.pin,
            generator=generator,
            multiprocessing_context=context,
            worker_init_fn=_leave_signals_to_the_parent,
        )
        for batch in loader:
            if isinstance(batch, MMKitError):
                raise batch
            yield batch


def _collated(collate: Callable[[list[Item]], Batch], items: list[Item]) -> Batch | MMKitError:
    """A batch, or the user's error it ended in: raised in a worker, it would arrive as a traceback's text."""
    try:
        return collate(items)
    except MMKitError as error:
        return error


def _leave_signals_to_the_parent(_worker: int) -> None:
    """Go on when a signal reaches the whole group of processes: the batch at hand is still needed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
