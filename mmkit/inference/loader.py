"""Batches collated ahead of the device, in other processes if there are any; or only their images loaded, by threads.

On Linux they are forked, also when this process already uses a GPU. The CUDA runtime does not work in a forked process
(PyTorch, Multiprocessing best practices, "Poison fork"), so nothing there may touch it: parts collate on the CPU, and
what the process has of this one's memory is never freed. Processes that are spawned would need the model and all items
through a pipe, with a CUDA context in each.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.util import Finalize
from typing import Literal

import torch
from torch.utils.data import DataLoader

from mmkit.batch import Batch
from mmkit.encoders.threads import cores
from mmkit.errors import MMKitError, PartError, one_line
from mmkit.inference.ahead import ImagesAhead
from mmkit.model import Item, Model

MOST = 8
"""Processes that `workers = "auto"` starts at most, for each process that trains."""

FORKED = "in forked subprocess"
"""In PyTorch's message when a forked process uses CUDA."""


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
    if not _opens_pictures(model, stored) or model.device.type == "cpu":
        return 0
    return max(0, min(MOST, (_cores() if there is None else there) // processes - 1))


def pick_threads(wanted: int | Literal["auto"], model: Model, there: int | None = None) -> int:
    """The number of threads that load images where no other process collates batches: the wanted one.

    `auto` is this process's share of the cores (`there`), or 0 if that is one core, or if the model opens no image. A
    model on a CPU computes on the same cores: then it is at most the number of threads that torch has.
    """
    if wanted != "auto":
        return wanted
    if not _opens_pictures(model):
        return 0
    threads = cores() if there is None else there
    if model.device.type == "cpu" or not os.environ.get("OMP_NUM_THREADS"):
        threads = min(threads, torch.get_num_threads())
    return threads if threads > 1 else 0


def _opens_pictures(model: Model, stored: Container[str] = ()) -> bool:
    """Whether an encoder of examples reads images, apart from those whose features are `stored`."""
    return any(encoder.reads_pictures for name, encoder in model.reading.items() if name not in stored)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Loader:
    """Collates micro-batches ahead of the device, in `workers` other processes if there are any.

    They start with the first pass and stay until `close`. They have the items, so only indices are sent to
    them, and only tensors come back. What they read of the model's parts is what it was when they started. Lengths of
    texts are padded to multiples of `multiple`.

    Without them, this process collates, and `threads` load the images of the next batches (`mmkit.inference.ahead`).
    """

    def __init__(
        self,
        model: Model,
        items: Sequence[Item],
        workers: int,
        *,
        targets: bool = True,
        multiple: int = 1,
        threads: int = 0,
    ) -> None:
        self.items, self.workers, self._model, self._targets = items, workers, model, targets
        self._multiple = multiple
        self._threads = 0 if workers or len(items) < 2 else threads
        self._ahead: ImagesAhead | None = None
        self._pin = model.device.type == "cuda"
        self._pass = _Pass()
        self._kept: DataLoader[Batch | MMKitError] | None = None
        self._end: Finalize | None = None

    def __call__(self, micro_batches: Sequence[list[int]]) -> Iterator[Batch]:
        """Batches in order; each call is a new pass, with a random state separate from the model's.

        Only one pass at a time: a new one ends the one before. Raises what the model's parts raise, also if they run in
        a worker.
        """
        self._pass.batches = micro_batches
        loader = self._kept or self._made()
        if self.workers and self._kept is None:
            self._kept = loader
            # with a priority, because Python then calls it before it waits for its children
            self._end = Finalize(self, _end, [loader], exitpriority=10)
        batches: Iterator[Batch | MMKitError] = iter(loader)
        if self._threads:
            self._end_threads()
            self._ahead = ImagesAhead(self._model, self.items, micro_batches, self._threads)
            batches = self._ahead.of(batches)
        for chosen, batch in zip(micro_batches, batches, strict=True):
            if isinstance(batch, MMKitError):
                raise batch
            yield replace(batch, examples=self._model.shown([self.items[i] for i in chosen], self._targets))

    def close(self) -> None:
        """End the threads, and the other processes: those do not listen to signals, and would outlive this one.

        If nobody calls it, they end with this object, or with Python, which would wait for them for ever.
        """
        self._end_threads()
        self._kept = None
        if self._end is not None:
            self._end()
            self._end = None

    def _end_threads(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _made(self) -> DataLoader[Batch | MMKitError]:
        context = None
        if self.workers:
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive a fork
            # forked workers share the items, and start at once
            context = "fork" if sys.platform == "linux" else None
        collate = partial(self._model.collate, targets=self._targets)
        if self._multiple > 1:
            collate = partial(collate, multiple=self._multiple)
        generator = torch.Generator()  # keeps the loader from drawing on the model's random numbers
        generator.manual_seed(0)
        return DataLoader(
            self.items,  # type: ignore[arg-type]
            batch_sampler=self._pass,
            collate_fn=partial(_collated, collate),
            num_workers=self.workers,
            pin_memory=self._pin,
            generator=generator,
            multiprocessing_context=context,
            worker_init_fn=_begin,
            persistent_workers=bool(self.workers),
        )


def _end(loader: DataLoader[Batch | MMKitError]) -> None:
    """End a loader's processes; while Python ends, torch leaves those that do not listen to signals."""
    if loader._iterator is not None:
        loader._iterator._shutdown_workers()  # type: ignore[attr-defined]
        for worker in loader._iterator._workers:  # type: ignore[attr-defined]
            if worker.is_alive():
                worker.kill()


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
    except RuntimeError as error:
        if FORKED not in str(error):
            raise
        return PartError(
            f"a part uses the GPU where batches are collated, which another process does: {one_line(error)}",
            hint="collate, targets and sources must make tensors on the CPU; until then, training.workers = 0",
            code="part.gpu-in-worker",
        )


def _begin(_worker: int) -> None:
    """Continue when a signal reaches the whole group of processes: the current batch is still needed.

    And never free what was forked: a tensor on a GPU would be freed by CUDA, which does not work here.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()
