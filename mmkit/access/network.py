"""Whether other machines may be contacted: not for a loaded run, unless its user allows it.

A run folder is data, perhaps from someone else. `without_network` is around all work for a loaded run. A client calls
`check_network` before it connects, so that the message names the server. Code that does not call it is stopped too:
the Hugging Face Hub is offline in the block, and Python's own sockets do not connect.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from mmkit.errors import PartError

_HINT = "to allow it, add --allow-network (allow_network=True in Python)"

_run: ContextVar[str | None] = ContextVar("mmkit_run_without_network", default=None)
"""The run for which no server is contacted; None if everything is allowed."""


def network_allowed() -> bool:
    """Whether the current code may contact other machines."""
    return _run.get() is None


def network_hint() -> str:
    """A hint about something that is not on this machine; empty if everything is allowed."""
    return "" if network_allowed() else f"a loaded run downloads nothing by itself; {_HINT}"


def check_network(server: str) -> None:
    """Raise `PartError` unless the current code may contact `server`, an address or a name for the message.

    Call it before you connect, and before you send over a connection that is kept.
    """
    run = _run.get()
    if run is not None:
        raise PartError(
            f"the run would contact {server}, and a loaded run contacts no server by itself",
            where=run,
            hint=f"{_HINT}, if you trust the run and the server",
            code="network.not-allowed",
        )


@contextmanager
def without_network(run: str | Path, allow: bool = False) -> Iterator[None]:
    """Stop code in the block from contacting other machines, for `run`; with `allow` nothing changes.

    Holds for this thread, and for the Hugging Face Hub in the whole process. Don't `yield` in the block.
    """
    if allow:
        yield
        return
    _watch_sockets()
    token = _run.set(str(run))
    try:
        with _hub.offline():
            yield
    finally:
        _run.reset(token)


class _Hub:
    """The switch that restricts huggingface_hub, and so transformers and timm, to its cache."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._before = False

    @contextmanager
    def offline(self) -> Iterator[None]:
        from huggingface_hub import constants

        with self._lock:
            if not self._blocks:
                self._before = constants.HF_HUB_OFFLINE
                constants.HF_HUB_OFFLINE = True  # `is_offline_mode` reads this before each request
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if not self._blocks:
                    constants.HF_HUB_OFFLINE = self._before


_hub = _Hub()
_watching = threading.Event()

_CONNECTING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_RESOLVING = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})


def _watch_sockets() -> None:
    """Let Python call `_heard` for sockets from now on. Such a hook cannot be removed again."""
    if not _watching.is_set():
        _watching.set()
        sys.addaudithook(_heard)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse a connection or the look-up of an address for a run."""
    if event in _CONNECTING:
        address = arguments[1]
        # A tuple is an address of the internet; others stay on this machine. Windows makes its pipes of the first.
        if isinstance(address, tuple) and not (
            sys.platform == "win32" and address[0] in ("127.0.0.1", "::1")
        ):
            check_network(f"{address[0]}:{address[1]}" if len(address) > 1 else str(address))
    elif event in _RESOLVING and not _is_own(arguments[0]):
        check_network(str(arguments[0]))


def _is_own(host: object) -> bool:
    """Whether a host's name is this machine's, or empty."""
    if isinstance(host, bytes):
        host = host.decode("latin-1")
    return not host or host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::", socket.gethostname())
