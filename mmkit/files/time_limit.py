"""A limit on processor time, for work that a stranger's data could make very slow."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

AGAIN = 0.5
"""Seconds after which `OutOfTime` is raised again: Python drops an exception in a callback of its garbage collector."""


class OutOfTime(Exception):  # noqa: N818 - not a mistake
    """The work needed more time than allowed."""


def can_limit() -> bool:
    """Whether `time_limit` works here. It needs the main thread, and a system with interval timers."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block when it has used `seconds` of processor time.

    Time is not measured by the clock, so the result is the same on a busy machine. If `can_limit` is false, this does
    nothing.
    """
    if not can_limit():
        yield
        return

    def end(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGVTALRM, end)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)
