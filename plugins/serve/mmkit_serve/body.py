"""A request's body, counted while it is read: too much, or too slow, is refused at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, MutableMapping
from typing import Any

from mmkit.errors import DataError, MMKitError
from mmkit_serve.settings import MEGA

Message = MutableMapping[str, Any]

LINGER = 2.0
"""The seconds in which the rest of a refused body is thrown away. A client that still sends when the connection is
closed may lose the answer."""


class Memory:
    """How many bytes of bodies all open requests hold together."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    def take(self, size: int) -> None:
        """Count bytes. Raises `MMKitError` if that is too many."""
        if self.held + size > self.most:
            raise MMKitError(
                "the server holds too many uploads", hint="try again in a moment", code="serve.memory"
            )
        self.held += size

    def give_back(self, size: int) -> None:
        """Bytes that are held no longer."""
        self.held -= size


class Body:
    """ASGI's `receive`, with limits of size, of memory and of time until the body's end."""

    def __init__(self, receive: Callable[[], Any], limit: int, seconds: float, memory: Memory) -> None:
        self._receive, self.limit, self._memory = receive, limit, memory
        self._until = asyncio.get_running_loop().time() + seconds
        self.size = 0
        self.held = 0
        self.complete = False
        self.gone = False
        """Whether the client has closed the connection."""

    def check_length(self, declared: int | None) -> None:
        """Refuse a body by its header `Content-Length`, before anything is read."""
        if declared is not None and declared > self.limit:
            raise too_large(self.limit)

    async def receive(self) -> Message:
        """The next part. Raises `DataError` for a body that is too large or too slow."""
        if self.complete:
            return await self._received()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._received()
        except TimeoutError:
            raise DataError(
                "the body arrived too slowly", hint="send less, or send it faster", code="serve.slow-body"
            ) from None
        if message["type"] == "http.request":
            part = len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            self.size += part
            if self.size > self.limit:
                raise too_large(self.limit)
            self._memory.take(part)
            self.held += part
        return message

    def release(self) -> None:
        """The parts that were read are held no longer."""
        self._memory.give_back(self.held)
        self.held = 0

    async def drain(self) -> None:
        """Throw the rest away, for at most `LINGER` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while not (self.complete or self.gone):
                    message = await self._received()
                    self.complete = not message.get("more_body", False)

    async def _received(self) -> Message:
        message: Message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
        return message


def too_large(limit: int) -> DataError:
    """The error of a body over the limit."""
    return DataError(
        f"the body is larger than the {limit / MEGA:g} MB that this server takes",
        hint="send fewer or smaller images, or use a batch upload for many texts",
        code="serve.body-too-large",
    )
