"""A server on this machine that answers as a test says, and the answers that no client should wait for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Keeps the headers of each request, in lower case, and lets the server's `answer` answer it."""

    server: HostileServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.answer(self)

    do_GET = do_POST  # noqa: N815 - the library's name

    def say(self, value: object) -> None:
        self.send(200, json.dumps(value).encode())

    def send(self, status: int, body: bytes, kind: str = "", **headers: str) -> None:
        self.begin(status, kind, Content_Length=str(len(body)), **headers)
        self.wfile.write(body)

    def begin(self, status: int, kind: str = "", **headers: str) -> None:
        self.send_response(status)
        for name, value in (self.usual_headers() | ({"Content-Type": kind} if kind else {})).items():
            self.send_header(name, value)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def usual_headers(self) -> dict[str, str]:
        """The headers of every answer that does not say otherwise."""
        return {"Content-Type": "application/json"}

    def log_message(self, format: str, *args: object) -> None:
        pass


class HostileServer(ThreadingHTTPServer):
    """Listens until its `with` block ends. `released` ends the answers without an end."""

    daemon_threads = True

    def __init__(self, answer: Answer, host: str = "127.0.0.1", handler: type[Handler] = Handler) -> None:
        super().__init__((host, 0), handler)
        self.answer = answer
        self.headers: list[dict[str, str]] = []
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]}:{self.server_address[1]}"


def without_end(handler: Handler) -> None:
    """An answer that goes on and on."""
    handler.begin(200, Transfer_Encoding="chunked")
    block = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
    try:
        while not handler.server.released.is_set():
            handler.wfile.write(block)
    except OSError:
        pass


def drip(handler: Handler) -> None:
    """A byte at a time, each before any timeout of one read."""
    handler.begin(200, Content_Length="1000")
    _repeat(handler, b" ")


def drip_headers(handler: Handler) -> None:
    """The same within a header."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    _repeat(handler, b"a")


def _repeat(handler: Handler, byte: bytes) -> None:
    try:
        while not handler.server.released.wait(0.05):
            handler.wfile.write(byte)
            handler.wfile.flush()
    except OSError:
        pass
