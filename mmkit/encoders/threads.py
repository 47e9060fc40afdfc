"""Threads that load items before the network asks for them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from mmkit.encoders.items import ItemSource
from mmkit.errors import ImageError
from mmkit.terminal.elastic import local_processes

MOST = 16
"""Threads of a process at most."""


def cores() -> int:
    """A useful number of threads to load items: this process's cores, or its share of those of a training here.

    `LOCAL_WORLD_SIZE`, which torchrun and accelerate set, says how many processes train on this machine.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST, there // local_processes(1)))


@contextmanager
def loading(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for a block. When it ends, also by an error or Ctrl-C, they finish the items that they have begun.

    What still waits for a thread is dropped.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="mmkit-items")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def load_ahead(
    source: ItemSource[Any, Any], raws: Mapping[str, Any], pool: ThreadPoolExecutor, ahead: int
) -> Iterator[tuple[str, Any]]:
    """Items in order, loaded by the pool, `ahead` of them at a time; broken ones as their error."""

    def load(raw: Any) -> Any:
        try:
            return source.load(raw)
        except ImageError as error:
            return error

    waiting: deque[tuple[str, Future[Any]]] = deque()
    for key, raw in raws.items():
        waiting.append((key, pool.submit(load, raw)))
        if len(waiting) > ahead:
            key, future = waiting.popleft()
            yield key, future.result()
    for key, future in waiting:
        yield key, future.result()
