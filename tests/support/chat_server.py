"""A chat server on this machine that does everything a server should not."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-very/secret+key"


class Server(ThreadingHTTPServer):
    """Speaks the interface; the prompt's last word, a name, says how it is treated: see `TREATMENTS`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.arrived: list[float] = []
        self.working, self.most_working = 0, 0
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.treat_all_as = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def names(self) -> list[str]:
        return [name for name, _, _ in self.seen]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body["messages"][0]["content"].split()[-1]
        server = self.server
        with server.lock:
            server.seen.append((name, {k.lower(): v for k, v in self.headers.items()}, body))
            server.arrived.append(time.monotonic())
            tries = server.names().count(name)
            server.working += 1
            server.most_working = max(server.most_working, server.working)
        try:
            treatment = TREATMENTS.get(server.treat_all_as or name.rstrip("0123456789"), answer)
            treatment(self, name, tries)
        finally:
            with server.lock:
                server.working -= 1

    def send(self, status: int, body: str, kind: str = "application/json", **headers: str) -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def say(self, content: Any, finish: str = "stop", **more: Any) -> None:
        message = {"role": "assistant", "content": content}
        self.choices([{"index": 0, "message": message, "finish_reason": finish}], **more)

    def choices(self, choices: Any, **more: Any) -> None:
        said = {"id": "1", "object": "chat.completion", "created": 0, "choices": choices, **more}
        self.send(200, json.dumps(said))

    def log_message(self, format: str, *args: Any) -> None:
        pass


Treatment = Callable[[Handler, str, int], None]


def answer(handler: Handler, name: str, tries: int) -> None:
    handler.say(f"{name} is well known.")


def first(treatment: Callable[[Handler], None]) -> Treatment:
    """At first that treatment, then an answer."""
    return lambda handler, name, tries: treatment(handler) if tries == 1 else answer(handler, name, tries)


def always(treatment: Callable[[Handler], None]) -> Treatment:
    return lambda handler, name, tries: treatment(handler)


def break_off(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.close_connection = True


def interrupt(handler: Handler) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    handler.server.released.wait(30)


def echo(status: int, **headers: str) -> Callable[[Handler], None]:
    """An error that repeats the request's credentials, as careless servers do."""

    def treatment(handler: Handler) -> None:
        words = f"bad header {handler.headers['Authorization']} and {KEY}"
        handler.send(status, json.dumps({"error": {"message": words}}), **headers)

    return treatment


MALFORMED: dict[str, Callable[[Handler], None]] = {
    "Truncated": lambda h: h.send(200, '{"choices": [{"message"'),
    "Page": lambda h: h.send(200, "<html>gateway</html>", "text/html"),
    "Nothing": lambda h: h.choices([]),
    "Null": lambda h: h.choices(None),
    "Odd": lambda h: h.choices([{"message": "text"}]),
    "Textless": lambda h: h.say(None),
    "Parts": lambda h: h.say([{"type": "text"}]),
    "Blank": lambda h: h.say("  \n"),
}
UNSERVED: dict[str, Callable[[Handler], None]] = {
    "Busy": lambda h: h.send(429, "{}", Retry_After="0"),
    "Broken": lambda h: h.send(500, "oh", "text/plain"),
    "Away": lambda h: h.send(503, "{}", Retry_After="0.01"),
    "Cut": break_off,
}
TOLD = {
    "model": "m-2026\n \x1b[2J",
    "system_fingerprint": "build 7",
    "usage": {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37},
}
TREATMENTS: dict[str, Treatment] = {
    **{name: first(treatment) for name, treatment in (MALFORMED | UNSERVED).items()},
    **{f"Ever{name}": always(treatment) for name, treatment in (MALFORMED | UNSERVED).items()},
    "Hang": always(lambda h: h.server.released.wait(30) and None),
    "Interrupt": always(interrupt),
    "Refused": always(lambda h: h.send(400, json.dumps({"error": {"message": "not this one"}}))),
    "Locked": always(echo(401)),
    "Forbidden": always(echo(403)),
    "Unknown": always(lambda h: h.send(404, json.dumps({"error": {"message": "no model x"}}))),
    "Poor": always(lambda h: h.send(429, json.dumps({"error": {"code": "insufficient_quota"}}))),
    "Echo": always(echo(400)),
    "Long": always(lambda h: h.say("It is old. It is big. It has", "length")),
    "Told": always(lambda h: h.say("It is so.", **TOLD)),
    "Thinking": always(lambda h: h.say("<think>Hmm, what is", "length")),
}
