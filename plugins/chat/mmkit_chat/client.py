"""The HTTP client below the `openai` package: bounded time and size of answers, and an even pace of requests."""

from __future__ import annotations

import time
from typing import Any

import anyio
import openai

MOST_BYTES = 8_000_000
"""The largest size of an answer, uncompressed."""


class MalformedError(openai.OpenAIError):
    """An answer in the wrong form. It derives from the client's own errors, so that the client does not catch it."""


class Pace:
    """Delays requests, so that they are sent evenly and at most `per_minute` in a minute."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def __call__(self) -> None:
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + self._interval
        await anyio.sleep(start - now)


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """Limits the time and size of whole answers. The client's own timeout starts again with each byte.

    The time that a request waits for its turn, at an even `pace`, does not count.
    """

    def __init__(self, *, most_seconds: float, pace: Pace, **options: Any) -> None:
        super().__init__(**options)
        self._most_seconds, self._pace = most_seconds, pace

    async def send(self, request: Any, **options: Any) -> Any:
        """The response with its body. Raises `MalformedError` if it is too long, `APITimeoutError` if too slow."""
        body = bytearray()
        await self._pace()
        try:
            with anyio.fail_after(self._most_seconds):
                response = await super().send(request, **{**options, "stream": True})
                try:
                    async for chunk in response.aiter_bytes():
                        body += chunk
                        if len(body) > MOST_BYTES:
                            raise MalformedError("the answer is too long")
                finally:
                    await response.aclose()
        except TimeoutError:
            raise openai.APITimeoutError(request=request) from None
        of_the_wire = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(name, value) for name, value in response.headers.items() if name not in of_the_wire]
        return type(response)(response.status_code, headers=headers, content=bytes(body), request=request)
