"""Batches collated ahead of the device, in other processes if there are any."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch.utils.data import DataLoader

from mmkit.batch import Batch
from mmkit.errors import MMKitError
from mmkit.model import Item, Model

MOST = 8
"""Processes that `workers = "auto"` starts at most, for each process that trains."""


def pick_workers(
    wanted: int | Literal["auto"], model: Model, processes: int = 1, there: int | None = None
) -> int:
    """The number of processes that collate batches: the wanted one.

    `auto` is 0 where batches cost little, because the features of pictures are stored, and on a CPU, which the model
    needs itself. Where a GPU would wait for pictures, it is a share of the cores (`there`) for each of the
    `processes` of this machine that train, without the one that feeds the GPU.
    """
    if wanted != "auto":
        return wanted
    stored = model.item_encoders()
    opens = any(encoder.reads_pictures for name, encoder in model.reading.items() if name not in stored)
    if not opens or model.device.type == "cpu":
        return 0
    return max(0, min(MOST, (_cores() if there is None else there) // processes - 1))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Loader:
    """Collates micro-batches ahead of the device, in `workers` other processes if there are any.

    They start with the first pass and stay until `close`. They have the items, so only indices are sent to
    them, and only tensors come back. What they read of the model's parts is what it was when they started.
    """

    def __init__(self, model: Model, items: Sequence[Item], workers: int, *, targets: bool = True) -> None:
        self.items, self.workers, self._model, self._targets = items, workers, model, targets
        self._pin = model.device.type == "cuda"
        self._pass = _Pass()
        self._kept: DataLoader[Batch | MMKitError] | None = None

    def __call__(self, micro_batches: Sequence[list[int]]) -> Iterator[Batch]:
        """Batches in order; each call is a new pass, with a random state separate from the model's.

        Only one pass at a time: a new one ends the one before. Raises what the model's parts raise, also if they run in
        a worker.
        """
        self._pass.batches = micro_batches
        loader = self._kept or self._made()
        if self.workers:
            self._kept = loader
        for chosen, batch in zip(micro_batches, loader, strict=True):
            if isinstance(batch, MMKitError):
                raise batch
            yield replace(batch, examples=self._model.shown([self.items[i] for i in chosen], self._targets))

    def close(self) -> None:
        """End the other processes, if there are any: they do not listen to signals, and would outlive this one."""
        kept, self._kept = self._kept, None
        if kept is not None and kept._iterator is not None:
            kept._iterator._shutdown_workers()  # type: ignore[attr-defined]

    def _made(self) -> DataLoader[Batch | MMKitError]:
        context = None
        if self.workers:
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive a fork
            # forked workers share the items, and start at once
            context = "fork" if sys.platform == "linux" else None
        generator = torch.Generator()  # keeps the loader from drawing on the model's random numbers
        generator.manual_seed(0)
        return DataLoader(
            self.items,  # type: ignore[arg-type]
            batch_sampler=self._pass,
            collate_fn=partial(_collated, partial(self._model.collate, targets=self._targets)),
            num_workers=self.workers,
            pin_memory=self._pin,
            generator=generator,
            multiprocessing_context=context,
            worker_init_fn=_leave_signals_to_the_parent,
            persistent_workers=bool(self.workers),
        )


@dataclass
class _Pass:
    """The micro-batches of one pass, as a sampler of batches: indices of items."""

    batches: Sequence[list[int]] = field(default_factory=list)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _collated(collate: Callable[[list[Item]], Batch], items: list[Item]) -> Batch | MMKitError:
    """The tensors of a batch, or the user's error: raised in a worker, it would arrive as the text of a traceback.

    The process that asked for it knows the examples.
    """
    try:
        return replace(collate(items), examples=())
    except MMKitError as error:
        return error


def _leave_signals_to_the_parent(_worker: int) -> None:
    """Continue when a signal reaches the whole group of processes: the current batch is still needed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
