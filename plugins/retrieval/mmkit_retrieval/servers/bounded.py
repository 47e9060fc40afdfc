"""Answers of servers that are not trusted: with limits on their size and on the whole time that they take.

The clients' own timeouts start again with each byte that arrives, and the clients read answers of any length.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from queue import Empty, Queue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

MOST_BYTES = 32_000_000
"""Of an answer, unpacked."""

_CHUNK = 1 << 16
_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")


class TooLongError(Exception):
    """An answer of more than `MOST_BYTES`."""


class TooSlowError(Exception):
    """An answer that is not there in time."""


def in_time(call: Callable[[], T], seconds: float) -> T:
    """What `call` returns or raises; `TooSlowError` if that takes longer.

    A call that took too long ends by itself later, or with the process: nobody waits for its thread.
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
    """Make a connection pool of urllib3 raise `TooLongError` rather than read a longer answer."""
    unbounded = pool.urlopen

    def urlopen(*arguments: Any, **options: Any) -> Any:
        response = unbounded(*arguments, **{**options, "preload_content": False})
        return _read(response)

    pool.urlopen = urlopen


def _read(response: Any) -> Any:
    """A response whose body is in memory, in place of one whose body is still to come."""
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
