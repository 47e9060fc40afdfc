"""The HTTP client below the `openai` package: bounded time and size of answers, and an even pace of requests."""

from __future__ import annotations

import time
from typing import Any

import anyio
import openai

MOST_BYTES = 8_000_000
"""The largest size of an answer, uncompressed."""

_OF_THE_WIRE = {"content-encoding", "content-length", "transfer-encoding"}
"""Headers about the form in which a body came, which it no longer has."""


class MalformedError(openai.OpenAIError):
    """An answer in the wrong form. It derives from the client's own errors, so that the client does not catch it."""


class Pace:
    """Spreads requests evenly, at most `per_minute` in a minute."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    def turn(self) -> float:
        """Take the next turn: the seconds until it comes."""
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + self._interval
        return start - now


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """Limits the time and size of whole answers. The client's own timeout starts again with each byte."""

    def __init__(self, *, most_seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self._most_seconds = most_seconds

    async def send(self, request: Any, **options: Any) -> Any:
        """The response with its body. Raises `MalformedError` if it is too long, `APITimeoutError` if too slow."""
        body = bytearray()
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
        headers = [(name, value) for name, value in response.headers.items() if name not in _OF_THE_WIRE]
        # Some decoders that a server can name there take minutes, or give no text: without a name it is UTF-8.
        plain = [(n, v.partition(";")[0] if n == "content-type" else v) for n, v in headers]
        return type(response)(response.status_code, headers=plain, content=bytes(body), request=request)
