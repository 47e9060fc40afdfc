"""Runs work in several processes, and gives the results in the order of the work."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from mmkit.errors import DataError

X = TypeVar("X")
Y = TypeVar("Y")

_AHEAD = 3
"""How many pieces of work for each process are started before the first result is taken."""


def in_order(function: Callable[[X], Y], work: Iterable[X], processes: int, where: str = "") -> Iterator[Y]:
    """The results of `function` for all pieces of work, in order. With 0 processes, this process does the work.

    `function` must be a function of a module. New work is started only when results are taken, so memory stays bounded.
    The processes end when this one ends, even if it is killed, and ignore Ctrl-C. Raises `DataError` if one dies.
    """
    if processes < 1:
        yield from map(function, work)
        return
    spawn = multiprocessing.get_context("spawn")  # forking a process that has threads is not safe
    waiting: deque[Future[Y]] = deque()
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_begin) as pool:
        try:
            for piece in work:
                waiting.append(pool.submit(function, piece))
                if len(waiting) > _AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            hint = "there may be too little memory; run the same command again, with a smaller --memory"
            raise DataError(
                "a process that parsed articles died", where=where, hint=hint, code="retrieval.worker-died"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
