"""Batches collated ahead of the device, in other processes if there are any."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch.utils.data import DataLoader

from mmkit.batch import Batch
from mmkit.errors import MMKitError
from mmkit.model import Item, Model


class Loader:
    """Collates micro-batches ahead of the device, in `workers` other processes if there are any."""

    def __init__(self, model: Model, items: Sequence[Item], workers: int, *, targets: bool = True) -> None:
        self.items, self.workers = items, workers
        self.collate = partial(_collated, partial(model.collate, targets=targets))
        self.pin = model.device.type == "cuda"

    def __call__(self, micro_batches: Sequence[list[int]]) -> Iterator[Batch]:
        """Batches in order; each call is a new pass, with a random state separate from the model's.

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
            batch_sampler=micro_batches,
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
    """A batch, or the user's error that it raised: raised in a worker, it would arrive as the text of a traceback."""
    try:
        return collate(items)
    except MMKitError as error:
        return error


def _leave_signals_to_the_parent(_worker: int) -> None:
    """Continue when a signal reaches the whole group of processes: the current batch is still needed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
