"""Running the application: the socket, uvicorn, and the end on SIGTERM or Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Generator

import uvicorn
from starlette.types import ASGIApp

from mmkit.errors import MMKitError
from mmkit_serve.protocol import connection_class
from mmkit_serve.settings import Settings

BACKLOG = 2048
"""Connections that may wait to be accepted."""

HEAD_BYTES = 32_768
"""The most bytes of a request's head."""


class Server(uvicorn.Server):
    """uvicorn's server, which ends quietly on a signal: requests in flight are answered first."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell that requests are taken."""
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on SIGINT and SIGTERM; a second SIGINT stops at once. uvicorn's own would send the signal again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises `MMKitError` if the address cannot be used."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise MMKitError(
            f"the server cannot listen there: {error.strerror or error}",
            where=f"{settings.host}:{settings.port}",
            hint="name another --port or --host",
            code="serve.address",
        ) from error
    listening.set_inheritable(False)
    return listening


def address(listening: socket.socket) -> str:
    """The address of the server's page."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def server(app: ASGIApp, settings: Settings, ready: Callable[[], None] = lambda: None) -> Server:
    """A server of the application, to be run with `run(sockets=[...])`."""
    config = uvicorn.Config(
        app,
        http=connection_class(settings),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=settings.stop_timeout,
    )
    return Server(config, ready)
