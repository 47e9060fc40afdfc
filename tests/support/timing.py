"""A block that has to end in time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTime(BaseException):
    """A block took too long. No `Exception`, for those are caught where files are read."""


@contextmanager
def in_time(seconds: float = 20.0) -> Iterator[None]:
    """Raise `OutOfTime` where the block takes longer; in the main thread alone."""

    def out_of_time(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTime(f"more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
