"""A server whose answer is a file."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Answering(ThreadingHTTPServer):
    """Answers every request with the bytes of `answer`, as JSON of this `product`."""

    daemon_threads = True

    def __init__(self, answer: Path, product: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.product = answer, product
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Answering
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        regular = self.server.answer.is_file()
        body = self.server.answer.read_bytes() if regular else b""
        self.send_response(200 if regular else 503)
        vendor = "vnd.elasticsearch" in (self.headers["Accept"] or "")
        self.send_header(
            "Content-Type",
            "application/vnd.elasticsearch+json;compatible-with=9" if vendor else "application/json",
        )
        if self.server.product:
            self.send_header("X-Elastic-Product", self.server.product)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
