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
    `announce`, the first one is answered on stderr at once while deferring: an update and a checkpoint can take long.
    """

    def __init__(self, *, announce: bool = False) -> None:
        self.received: signal.Signals | None = None
        self._announce = announce
        self.insisted = False
        """Whether there was a second signal."""
        self._deferring = self._may_stop = False
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

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A block within `deferred` that loses nothing if it is left anywhere: there, the first signal raises.

        So does one that came before it. The caller then saves what there is.
        """
        self._may_stop = True
        try:
            if self.asked():
                raise KeyboardInterrupt
            yield
        finally:
            self._may_stop = False

    def asked(self) -> bool:
        """Whether there was a signal."""
        return self.received is not None

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():  # handlers can only be set there
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.insisted = self.asked()
        self.received = signal.Signals(number)
        if self._deferring and not self.insisted and self._announce:
            self._answer("saving" if self._may_stop else "saving after the next update")
        if self._may_stop or self.insisted or not self._deferring:
            raise KeyboardInterrupt

    def _answer(self, what: str) -> None:
        told = f"\n{self.name}: {what}; a second signal stops at once, without saving\n"
        with contextlib.suppress(OSError, AttributeError):  # there may be no stderr
            # past Python's buffers: the signal may have come in the middle of a print
            os.write(sys.stderr.fileno(), told.encode())
