"""A limit on the processor time of a piece of work that strangers' data may make arbitrarily slow."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class OutOfTime(Exception):  # noqa: N818 - it says what happened, and is no mistake
    """The work has taken longer than it may."""


def can_limit() -> bool:
    """Whether `time_limit` works here: in the main thread of a process, where the system has interval timers."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block when the process has computed for `seconds` since the block began.

    Processor time is counted, not the clock's: on a busy machine the same work is done as on a quiet one. Does
    nothing where `can_limit` is false.
    """
    if not can_limit():
        yield
        return

    def end(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGVTALRM, end)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)
