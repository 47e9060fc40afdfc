"""Ctrl-C and SIGTERM: stop at once if nothing is lost, else between two updates."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class StopSignal:
    """While entered, either signal raises `KeyboardInterrupt`; while `deferred`, it is only noted in `received`.

    A second signal raises at once even then. A signal that was not handled raises when deferring ends. With
    `announce`, the first one is answered on stderr at once: an update and a checkpoint can take long.
    """

    def __init__(self, *, announce: bool = False) -> None:
        self.received: signal.Signals | None = None
        self._announce = announce
        self._deferring = False
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def name(self) -> str:
        """The signal, for a message."""
        return self.received.name if self.received else signal.SIGINT.name

    @property
    def exit_code(self) -> int:
        """The exit code of a process that the signal stopped."""
        return 128 + (self.received or signal.SIGINT)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the block itself check `received` and stop at a suitable moment."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self.received is not None:
            raise KeyboardInterrupt

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():  # handlers can only be set there
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        again = self.received is not None
        self.received = signal.Signals(number)
        if again or not self._deferring:
            raise KeyboardInterrupt
        if self._announce:  # past Python's buffers: the signal may have come in the middle of a print
            told = f"\n{self.name}: saving after the next update; a second signal stops at once, without saving\n"
            with contextlib.suppress(OSError, AttributeError):  # there may be no stderr
                os.write(sys.stderr.fileno(), told.encode())
