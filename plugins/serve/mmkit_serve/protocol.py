"""uvicorn's connections, with times for a request's head and for a client that takes no answer, and JSON errors."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mmkit.errors import DataError, MMKitError
from mmkit_serve.errors import refusal
from mmkit_serve.settings import Settings


class Connection(H11Protocol):
    """One client's connection. `settings` are those of the server."""

    settings: ClassVar[Settings] = Settings()

    _head: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse a connection too many; else wait for a request's head, but not for ever."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            self._refuse(
                MMKitError("the server has too many connections", hint="try again", code="serve.memory")
            )
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Read a request, or a part of one."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        super().connection_lost(exc)
        _cancel(self._head)
        self._head = None
        _cancel(self._writing)
        self._writing = None

    def pause_writing(self) -> None:
        """The client does not take what is sent to it."""
        super().pause_writing()
        if self._writing is None:
            self._writing = self.loop.call_later(self.settings.write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        _cancel(self._writing)
        self._writing = None

    def send_400_response(self, msg: str) -> None:
        """What is sent was no HTTP."""
        self._refuse(DataError("this is not a valid HTTP request", code="serve.closed"))

    def _watch(self) -> None:
        """Close a connection whose request's head is not there in time, even if a byte comes now and then."""
        waiting = self.cycle is None or self.cycle.response_complete
        if not waiting:
            _cancel(self._head)
            self._head = None
        elif self._head is None and not self.transport.is_closing():
            self._head = self.loop.call_later(self.settings.read_timeout, self._too_slow)

    def _too_slow(self) -> None:
        self._head = None
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._refuse(DataError("the request's head arrived too slowly", code="serve.slow-body"))

    def _refuse(self, error: MMKitError) -> None:
        """Answer without the application, and close the connection."""
        told = refusal(error)
        body = json.dumps(told.body).encode()
        headers: list[tuple[str, str]] = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
            *told.headers.items(),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            events: list[Any] = [
                h11.Response(status_code=told.status, headers=headers),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ]
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def connection_class(settings: Settings) -> type[Connection]:
    """The class of connections of a server with these settings."""
    return type("Connection", (Connection,), {"settings": settings})
