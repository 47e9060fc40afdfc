"""Limits on the size and the total time of a server's answer, because servers are not trusted.

The timeouts of the clients start again with each byte that arrives, and the clients read answers of any length.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from queue import Empty, Queue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

MOST_BYTES = 32_000_000
"""The largest size of an answer, uncompressed."""

_CHUNK = 1 << 16
_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")


class TooLongError(Exception):
    """An answer of more than `MOST_BYTES`."""


class TooSlowError(Exception):
    """An answer that did not arrive in time."""


def in_time(call: Callable[[], T], seconds: float) -> T:
    """Run `call`, and return or raise what it does. Raises `TooSlowError` if it takes more than `seconds`.

    A call that takes too long goes on in its thread, which ends by itself or with the process.
    """
    done: Queue[tuple[T | None, BaseException | None]] = Queue(1)

    def run() -> None:
        try:
            done.put((call(), None))
        except BaseException as error:
            done.put((None, error))

    Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except Empty:
        raise TooSlowError from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def bound(pool: Any) -> None:
    """Let a connection pool of urllib3 raise `TooLongError` for an answer that is too long."""
    unbounded = pool.urlopen

    def urlopen(*arguments: Any, **options: Any) -> Any:
        response = unbounded(*arguments, **{**options, "preload_content": False})
        return _read(response)

    pool.urlopen = urlopen


def _read(response: Any) -> Any:
    """Read the body of a response, within the limit; return a response with this body."""
    import urllib3

    body = bytearray()
    for chunk in response.stream(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > MOST_BYTES:
            response.close()
            raise TooLongError
    response.release_conn()
    headers = {name: value for name, value in response.headers.items() if name.lower() not in _OF_THE_WIRE}
    return urllib3.HTTPResponse(io.BytesIO(body), headers, response.status, decode_content=False)
