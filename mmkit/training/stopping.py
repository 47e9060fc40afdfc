"""Ctrl-C and SIGTERM: at once where nothing is lost by it, between two updates where it is."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class StopSignal:
    """While entered, either signal raises `KeyboardInterrupt`; while `deferred`, it is only noted in `received`.

    A second one raises at once even then, and one that nobody has heeded raises where deferring ends.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._deferring = False
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def name(self) -> str:
        """The signal, for a message."""
        return self.received.name if self.received else signal.SIGINT.name

    @property
    def exit_code(self) -> int:
        """What a process that the signal stopped exits with."""
        return 128 + (self.received or signal.SIGINT)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let whoever runs the block look at `received` and stop where it suits."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self.received is not None:
            raise KeyboardInterrupt

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
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
