"""Results that threads compute before they are asked for, a batch at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, TypeAlias

Call: TypeAlias = Callable[[], Any]

_offered: ContextVar[Mapping[Hashable, tuple[Call, Future[Any]]] | None] = ContextVar(
    "results that were computed ahead for the batch that is made now", default=None
)


def result_of(key: Hashable) -> Any:
    """The result that was computed ahead under this key for the batch of the block around; None if there is none.

    Waits for the thread that computes it, and raises what it raised.
    """
    found = (_offered.get() or {}).get(key)
    return None if found is None else found[1].result()


class Ahead:
    """Threads that make the calls of coming batches, in their order. Results are kept until their batch is made."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mmkit-items")
        self._batches: deque[Mapping[Hashable, tuple[Call, Future[Any]]]] = deque()

    def begin(self, calls: Mapping[Hashable, Call]) -> None:
        """Let the threads make the calls of one further batch, each in a copy of the present context."""
        self._batches.append(
            # with the call, so that objects whose `id` is in the key live as long as it
            {key: (call, self._pool.submit(copy_context().run, call)) for key, call in calls.items()}
        )

    @contextmanager
    def oldest(self) -> Iterator[None]:
        """Offer the results of the oldest batch to `result_of` in a block, and drop them after it."""
        token = _offered.set(self._batches[0])
        try:
            yield
        finally:
            _offered.reset(token)
            self._batches.popleft()

    def close(self) -> None:
        """End the threads. They finish the calls that they have begun, and the others are dropped."""
        self._pool.shutdown(cancel_futures=True)
        self._batches.clear()
