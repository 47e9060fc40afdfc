"""Around the application: who may ask, limits of bodies and times, a log line and metrics for each request."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mmkit.errors import DataError, MMKitError
from mmkit_serve.body import Body, Memory, Message
from mmkit_serve.errors import refusal
from mmkit_serve.logs import log
from mmkit_serve.metrics import Metrics
from mmkit_serve.settings import Settings
from mmkit_serve.worker import queue_full

OPEN = re.compile(r"/|/healthz|/docs|/openapi\.json|/static/[^/]+")
"""Paths without data, which need no key: the page asks for the key and sends it."""

_API = re.compile(r"/v1/runs/(?P<run>[^/]+)/(?P<route>[a-z-]+)")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
SWAGGER_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""Swagger sets styles of its elements."""


class Guard:
    """An ASGI application around another."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        metrics: Metrics,
        runs: frozenset[str],
        full: Callable[[], bool],
    ) -> None:
        self.app, self.settings, self.metrics, self.runs = app, settings, metrics, runs
        self.full = full
        self.memory = Memory(settings.max_memory)
        self._key = settings.key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await _Exchange(self, scope, receive, send).run()
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)

    def refuse(self, scope: Scope, headers: Headers) -> None:
        """Raise the error of a request that is not to be answered, whatever its body."""
        self._check_host(headers)
        if OPEN.fullmatch(scope["path"]):
            return
        if self._key and not self._knows_key(headers):
            raise DataError(
                "the key is missing or wrong",
                hint="send the header `Authorization: Bearer KEY` or `X-API-Key: KEY`",
                code="serve.key",
            )
        if scope["method"] == "POST":
            self._check_origin(headers)
            if self.full():
                raise queue_full()

    def _check_host(self, headers: Headers) -> None:
        allowed = self.settings.allowed_hosts
        if allowed is not None and _host(f"//{headers.get('host', '')}") not in allowed:
            raise DataError(
                "this server is not called by the name in the header Host",
                hint="use 127.0.0.1 or localhost; the server's --allow-host adds names",
                code="serve.host",
            )

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise DataError("a page of another site may not ask this server", code="serve.other-site")

    def _knows_key(self, headers: Headers) -> bool:
        """Whether a request has the key; the time taken says nothing of it."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        sent = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        return hmac.compare_digest(sent.encode(), self._key)

    def limit(self, path: str) -> int:
        """The largest body of a path."""
        batch = path.endswith("/batch")
        return self.settings.max_batch_body if batch else self.settings.max_body


class _Exchange:
    """One request and its answer."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self.guard, self.scope, self._send = guard, scope, send
        settings = guard.settings
        self.body = Body(receive, guard.limit(scope["path"]), settings.read_timeout, guard.memory)
        self.body.complete = not _has_body(scope)
        self.status = 0
        self.id = secrets.token_hex(8)
        self.facts: dict[str, Any] = {}
        """What the application adds to the log line."""
        scope.setdefault("state", {}).update(request_id=self.id, body=self.body, facts=self.facts)

    async def run(self) -> None:
        """Refuse the request, or let the application answer it; then log and count it."""
        begun = time.monotonic()
        self.guard.metrics.open.inc()
        failure: BaseException | None = None
        try:
            await self._answer()
        except asyncio.CancelledError as error:  # the server stops, and this request took too long
            failure = error
            raise
        except Exception as error:
            failure = error
        finally:
            self.body.release()
            self.guard.metrics.open.dec()
            self._note(time.monotonic() - begun, failure)

    async def _answer(self) -> None:
        headers = Headers(scope=self.scope)
        try:
            self.guard.refuse(self.scope, headers)
            self.body.check_length(_length(headers))
        except MMKitError as error:
            told = refusal(error)
            self.facts["code"] = error.code
            response = JSONResponse(told.body, told.status, told.headers)
            await response(self.scope, self.body.receive, self.send)
            return
        await self.guard.app(self.scope, self.body.receive, self.send)

    async def send(self, message: Message) -> None:
        """ASGI's `send`: adds headers, and reads a refused body away."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._add_headers(message)
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and not (self.body.complete or self.body.gone):
            await self._send({**message, "more_body": True})
            await self.body.drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-Id"] = self.id
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers.setdefault("Cache-Control", "no-store")
        headers["Content-Security-Policy"] = SWAGGER_POLICY if self.scope["path"] == "/docs" else POLICY
        if not self.body.complete and _has_body(self.scope):
            headers["Connection"] = "close"

    def _note(self, seconds: float, failure: BaseException | None) -> None:
        found = _API.fullmatch(self.scope["path"])
        known = found is not None and found["run"] in self.guard.runs and self.status != 404
        route = found["route"] if found and known else self._plain_route()
        run = found["run"] if found and known else ""
        status = self.status or 499  # as nginx has it: the client was gone before the answer
        self.guard.metrics.answered(route, run, status, seconds)
        level = logging.ERROR if failure is not None or status >= 500 else logging.INFO
        log(
            "request",
            level,
            failure,
            id=self.id,
            method=self.scope["method"],
            route=route,
            run=run,
            status=status,
            ms=round(seconds * 1000, 1),
            bytes=self.body.size,
            **self.facts,
        )

    def _plain_route(self) -> str:
        """A path without data; "other" for one that a client made up, which logs and metrics do not repeat."""
        path = self.scope["path"]
        if path.startswith("/static/"):
            return "/static"
        return (
            path
            if self.status != 404 and (OPEN.fullmatch(path) or path in ("/metrics", "/v1/runs"))
            else "other"
        )


def _host(address: str) -> str:
    """The name of `//host:port`; empty for what is no address."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _length(headers: Headers) -> int | None:
    declared = headers.get("content-length", "")
    return int(declared) if declared.isdecimal() and declared.isascii() else None


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
