"""Whether other machines may be contacted: not on behalf of a loaded run, unless its user says so.

A run folder is data, maybe somebody else's. `without_network` is around everything that is done for a loaded run. A
client asks `check_network` before it connects, so that the message names the server. What forgets to ask is stopped
too: the Hugging Face Hub is offline meanwhile, and Python's own sockets connect to nothing.
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
"""The run on whose behalf nobody is contacted; None where everything is allowed."""


def network_allowed() -> bool:
    """Whether what runs now may contact other machines."""
    return _run.get() is None


def network_hint() -> str:
    """What a user can do about something that is not on this machine; empty where everything is allowed."""
    return "" if network_allowed() else f"a loaded run downloads nothing by itself; {_HINT}"


def check_network(server: str) -> None:
    """Raise `PartError` unless what runs now may contact `server`, an address or a name for the message.

    Call it before a connection is made, and before anything is sent over one that is kept.
    """
    run = _run.get()
    if run is not None:
        raise PartError(
            f"the run would contact {server}, and a loaded run contacts nobody by itself",
            where=run,
            hint=f"{_HINT}, if you trust the run and the server",
            code="network.not-allowed",
        )


@contextmanager
def without_network(run: str | Path, allow: bool = False) -> Iterator[None]:
    """Let nothing in the block contact another machine, on behalf of `run`; with `allow` the block is as it is outside.

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
    """The switch that keeps huggingface_hub, and with it transformers and timm, to what is in its cache."""

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
                constants.HF_HUB_OFFLINE = True  # what `is_offline_mode` looks at before each request
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
    """Have Python tell `_heard` of sockets, from now on: such a hook can't be taken away again."""
    if not _watching.is_set():
        _watching.set()
        sys.addaudithook(_heard)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse a connection, or a question for an address, that is made on behalf of a run."""
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
    """Whether a host's name is this machine's, or no name at all."""
    if isinstance(host, bytes):
        host = host.decode("latin-1")
    return not host or host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::", socket.gethostname())
