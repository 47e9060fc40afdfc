"""A round: tasks go through a pool of actors in Ray Data; those whose actor ended come back without an answer."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pyarrow as pa

from mmkit_ray.shares import Shares
from mmkit_ray.wire import packed, unpacked
from mmkit_ray.workers import NUMBER, TASK

BLOCKS = 4096
"""Into as many blocks the tasks are cut, at most. Actors take a block at a time, and Ray keeps a record of each."""

UNKNOWN = "Ray ended its process, or its machine is gone"


class Round:
    """One pass over tasks. Iterating gives (number of a task, kind of answer, answer), as they come.

    Afterwards `why` says how actors ended, if some did. `cut_short` says that Ray gave the pass up because an actor
    could not start, so that tasks without an answer may not have been begun. `actor` is a class of
    `mmkit_ray.workers`; `arguments` make each actor.
    """

    def __init__(
        self,
        ray: ModuleType,
        tasks: Sequence[Any],
        actor: type[Callable[[pa.Table], pa.Table]],
        arguments: Sequence[Any],
        shares: Shares,
    ) -> None:
        self.ray, self.tasks, self.actor, self.arguments = ray, tasks, actor, arguments
        self.shares = shares
        self.why = UNKNOWN
        self.cut_short = False

    def __iter__(self) -> Iterator[tuple[int, str, Any]]:
        with self._as_needed(), self._listening():
            tables = iter(
                self._dataset().iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
            )
            while (table := self._next(tables)) is not None:
                answers = zip(table[NUMBER].to_pylist(), table[TASK].to_pylist(), strict=True)
                for number, answer in answers:
                    yield number, *unpacked(answer)

    def _next(self, tables: Iterator[pa.Table]) -> pa.Table | None:
        """The next table of answers; None at the end, or where Ray gives up: a machine may be gone unnoticed."""
        try:
            return next(tables, None)
        except self.ray.exceptions.RayError as error:
            self.why, self.cut_short = how(error), True
            return None

    def _dataset(self) -> Any:
        data = self.ray.data
        rows = [{NUMBER: number, TASK: packed(task)} for number, task in enumerate(self.tasks)]
        shares = self.shares
        dataset = data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS))
        pool = data.ActorPoolStrategy(size=min(shares.actors, len(rows)), max_tasks_in_flight_per_actor=1)
        with warnings.catch_warnings():
            # The last three options will be named in another way from Ray 2.64 on, which is not there yet.
            warnings.simplefilter("ignore", DeprecationWarning)
            return dataset.map_batches(
                self.actor,
                batch_size=1,
                batch_format="pyarrow",
                fn_constructor_args=self.arguments,
                compute=pool,
                num_cpus=shares.cpus,
                num_gpus=shares.gpus,
                # An actor that ends is replaced by the pool. Ray's own restart would wait for its machine to come back.
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy="SPREAD",
            )

    @contextmanager
    def _as_needed(self) -> Iterator[None]:
        """Ray Data without bars, and such that an actor's end costs its task alone, not all others."""
        context = self.ray.data.DataContext.get_current()
        own = {"max_errored_blocks": -1, "enable_progress_bars": False}
        before = {name: getattr(context, name) for name in own}
        try:
            for name, value in own.items():
                setattr(context, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(context, name, value)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Ray Data's log kept out of the terminal; the last error in it is why a task has no answer."""
        log = logging.getLogger("ray.data")
        before = log.handlers[:], log.propagate
        listener = logging.Handler(logging.ERROR)
        listener.emit = self._hear  # type: ignore[method-assign]
        log.handlers, log.propagate = [listener], False
        try:
            yield
        finally:
            log.handlers, log.propagate = before

    def _hear(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.why = how(record.exc_info[1])


def how(error: BaseException) -> str:
    """How an actor ended, from Ray's error."""
    if "OutOfMemory" in type(error).__name__ or "OOM" in str(error):
        return "its machine's memory was full"
    for line in str(error).splitlines():
        if line.startswith("The actor died because") and "unexpectedly" not in line:
            return line.removeprefix("The actor died because ").partition(". ")[0]
    return UNKNOWN
