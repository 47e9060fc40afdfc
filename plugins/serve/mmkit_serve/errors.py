"""Errors as clients get them: a status, and JSON with mmkit's code, what, where and hint."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from mmkit.errors import DataError, MMKitError
from mmkit.tasks import known_tasks

STATUS = {
    "json.syntax": 400,
    "json.unreadable": 400,
    "json.surrogate": 400,
    "image.too-large": 413,
    "serve.not-utf8": 400,
    "serve.multipart": 400,
    "serve.host": 400,
    "serve.closed": 400,
    "serve.key": 401,
    "serve.other-site": 403,
    "serve.no-such-path": 404,
    "serve.no-such-entity": 404,
    "serve.method": 405,
    "serve.slow-body": 408,
    "serve.body-too-large": 413,
    "serve.too-many-pixels": 413,
    "serve.content-type": 415,
    "serve.queue-full": 429,
    "serve.memory": 503,
    "serve.timeout": 503,
    "serve.stopping": 503,
}
"""Code → HTTP status; other `DataError`s are 422, and what the client cannot fix is 500 or 503."""

RETRY = {"serve.queue-full": 1, "serve.memory": 2, "serve.timeout": 5, "serve.stopping": 5}
"""Code → the seconds in `Retry-After`."""

_FLAG = re.compile(r"--[a-z][a-z-]*")
_IN_PYTHON = re.compile(r", or \w+=\.\.\. in Python")


class Refusal(NamedTuple):
    """An error for a client."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def refusal(error: BaseException) -> Refusal:
    """What a client gets for an error.

    Only `DataError`s speak of the request. Other errors may name files of the server: the client gets their code, and
    the server's log says more.
    """
    if not isinstance(error, MMKitError):
        what, hint = "the server failed", "try again; the server's log says more"
        return _refusal(500, "serve.internal", what, "", hint)
    if isinstance(error, DataError) or error.code in STATUS:
        status = STATUS.get(error.code, 422)
        return _refusal(status, error.code, error.what, error.where, _of_fields(error.hint))
    what, hint = "the run cannot answer now", "the server's log says why"
    return _refusal(503, error.code, what, "", hint)


def of_request(error: Exception, where: str, id: str) -> Exception:
    """An error about the example `id` as one about the request that stands at `where`."""
    if not isinstance(error, MMKitError) or error.each or error.where.startswith(where):
        return error
    inside = "" if error.where == id else error.where.removeprefix(f"{id}: ")
    return error.at(f"{where}: {inside}" if inside else where)


def _of_fields(hint: str) -> str:
    """A hint that names fields of a request, where it named options of the command line or arguments in Python."""
    names = {i.flag: i.name for task in known_tasks() for i in task.inputs}
    named = _FLAG.sub(lambda flag: f"`{names[flag[0]]}`" if flag[0] in names else flag[0], hint)
    return _IN_PYTHON.sub("", named)


def _refusal(status: int, code: str, what: str, where: str, hint: str) -> Refusal:
    headers = {"Retry-After": str(RETRY[code])} if code in RETRY else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Refusal(status, {"error": {"code": code, "what": what, "where": where, "hint": hint}}, headers)


SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Error",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "description": "stays the same when the words change"},
                "what": {"type": "string"},
                "where": {"type": "string"},
                "hint": {"type": "string"},
            },
            "required": ["code", "what", "where", "hint"],
        }
    },
    "required": ["error"],
}
"""The JSON schema of an error."""
