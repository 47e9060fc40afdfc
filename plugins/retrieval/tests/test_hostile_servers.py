"""Search servers that are not to be trusted: who gets a key, and answers of every form."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mmkit_retrieval.servers import bounded
from mmkit_retrieval.servers.milvus import TOKEN, URI, MilvusImages, _token
from mmkit_retrieval.servers.search_servers import API_KEY, PASSWORD, URL, USER, Kind, SearchServer
from raising import raises

SECRET = "s3cret"
GOOD = {
    "_score": 1.5,
    "_source": {"article": "7", "number": 0, "title": "Jordan", "text": "The river flows ."},
}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Handler)
        self.answer: Callable[[Handler], None] = lambda handler: handler.say(responses([GOOD]))
        self.keys: list[str | None] = []
        self.product = "Elasticsearch"
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]}:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.keys.append(self.headers["Authorization"])
        self.server.answer(self)

    do_GET = do_POST  # noqa: N815 - the library's name

    def say(self, value: object) -> None:
        self.send(200, json.dumps(value).encode())

    def send(self, status: int, body: bytes, kind: str = "", **headers: str) -> None:
        self.begin(status, kind, Content_Length=str(len(body)), **headers)
        self.wfile.write(body)

    def begin(self, status: int, kind: str = "", **headers: str) -> None:
        self.send_response(status)
        vendor = "vnd.elasticsearch" in (self.headers["Accept"] or "")
        json_kind = "application/vnd.elasticsearch+json;compatible-with=9" if vendor else "application/json"
        self.send_header("Content-Type", kind or json_kind)
        if self.server.product:
            self.send_header("X-Elastic-Product", self.server.product)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def responses(hits: object) -> dict[str, Any]:
    return {"took": 1, "responses": [{"status": 200, "hits": {"hits": hits}}]}


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.released.set()
    running.shutdown()
    running.server_close()


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    """Another host: this machine has many addresses."""
    running = Server("127.0.0.2")
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(params=["elasticsearch", "opensearch"])
def kind(request: pytest.FixtureRequest, server: Server) -> Kind:
    if request.param == "opensearch":
        server.product = ""
    kind: Kind = request.param
    return kind


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (API_KEY, USER, PASSWORD, URL, TOKEN, URI):
        monkeypatch.delenv(name, raising=False)


def ask(kind: Kind, server: Server | str, timeout: float = 5.0) -> list[list[Any]]:
    url = server if isinstance(server, str) else server.url
    return SearchServer(kind, url, "wiki", timeout=timeout).search(["Paris"], 3)


# Keys


@pytest.mark.parametrize("credentials", [{API_KEY: SECRET}, {USER: "me", PASSWORD: SECRET}])
def test_a_key_goes_to_the_server_named_beside_it_alone(
    kind: Kind,
    server: Server,
    elsewhere: Server,
    credentials: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere.product = server.product
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)
    with raises("retrieval.key-without-server", match=URL) as refused:
        ask(kind, server)
    assert refused.value.hint.endswith(f"export {URL}={server.url}")
    monkeypatch.setenv(URL, f"{server.url}/")
    assert ask(kind, server)[0][0].article == "7"
    assert ask(kind, elsewhere)[0][0].article == "7"
    basic = base64.b64encode(f"me:{SECRET}".encode()).decode()
    assert server.keys == [f"ApiKey {SECRET}" if API_KEY in credentials else f"Basic {basic}"]
    assert elsewhere.keys == [None]
    elsewhere.answer = lambda handler: handler.send(401, b'{"error": "who are you?"}')
    with raises("retrieval.server", match="refuses access") as refused:
        ask(kind, elsewhere)
    assert URL in refused.value.hint


def test_no_key_crosses_a_network_in_plain_text(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY, SECRET)
    monkeypatch.setenv(URL, "http://search.example.org:9200")
    with raises("network.plain-key"):
        ask(kind, "http://search.example.org:9200")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    kind: Kind, server: Server, elsewhere: Server, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY, SECRET)
    monkeypatch.setenv(URL, server.url)
    server.answer = lambda handler: handler.send(status, b"", Location=f"{elsewhere.url}/wiki/_msearch")
    with raises("retrieval.server", match="redirects to another address"):
        ask(kind, server)
    assert elsewhere.keys == []


def test_milvus_gets_its_token_where_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _token("https://milvus.org:19530") == ""
    monkeypatch.setenv(TOKEN, SECRET)
    with raises("retrieval.key-without-server", match=URI):
        MilvusImages("http://milvus.example.org:19530", "wiki")
    monkeypatch.setenv(URI, "https://milvus.org:19530")
    assert _token("https://milvus.org:19530") == SECRET
    assert _token("https://evil.org:19530") == ""
    assert _token("a/file.db") == ""
    monkeypatch.setenv(URI, "http://milvus.org:19530")
    with raises("network.plain-key"):
        MilvusImages("http://milvus.org:19530", "wiki")


# Answers

DEEP = 100_000
FORMS: dict[str, object] = {
    "a list": [],
    "a number": 3,
    "null": None,
    "a text": "responses",
    "no list of responses": {"responses": {"a": 1}},
    "a number of responses": {"responses": 1},
    "responses of null": {"responses": [None]},
    "responses that are lists": {"responses": [[]]},
    "no hits": {"responses": [{}]},
    "hits that are a list": {"responses": [{"hits": []}]},
    "hits in a number": {"responses": [{"hits": {"hits": 3}}]},
    "hits of null": responses([None]),
    "hits of texts": responses(["a"]),
    "no source": responses([{"_score": 1.0}]),
    "a source that is a text": responses([{"_score": 1.0, "_source": "article number title text"}]),
    "no score": responses([{k: v for k, v in GOOD.items() if k != "_score"}]),
    "a score that is a text": responses([{**GOOD, "_score": "1.0"}]),
    "a score that is true": responses([{**GOOD, "_score": True}]),
    "a score without end": responses([{**GOOD, "_score": float("inf")}]),
    "a title that is a list": responses([{**GOOD, "_source": {**GOOD["_source"], "title": []}}]),  # type: ignore[dict-item]
    "an error that is a list": {"responses": [{"error": ["a"], "status": "x"}]},
    "an error of errors": {"responses": [{"error": {"root_cause": {"a": 1}}, "status": 400}]},
    "more answers than questions": {"responses": [{"hits": {"hits": []}}] * 3},
}


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_of_another_form_is_one_message(kind: Kind, server: Server, form: str) -> None:
    server.answer = lambda handler: handler.say(FORMS[form])
    with raises("retrieval.server") as refused:
        ask(kind, server)
    assert refused.value.where == server.url


BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", ""),
    "a page": (b"<html><body>Log in</body></html>", "text/html"),
    "a page that says it is JSON": (b"<html>", ""),
    "half an answer": (b'{"responses": [{"hits"', ""),
    "no text": (b"\xff\xfe\x00", ""),
    "no text of another kind": (b"\xff\xfe\x00", "text/plain; charset=none"),
    "another kind": (b"\x01", "application/x-thing"),
    "no kind": (b"{}", ";;;"),
    "deep lists": (b"[" * DEEP + b"]" * DEEP, ""),
    "a deep answer": (b'{"responses":' * DEEP + b"1" + b"}" * DEEP, ""),
    "a long number": (b'{"responses": ' + b"9" * 10_000 + b"}", ""),
}


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("body", BODIES)
def test_an_answer_that_is_none_is_one_message(kind: Kind, server: Server, body: str, status: int) -> None:
    content, content_kind = BODIES[body]
    server.answer = lambda handler: handler.send(status, content, content_kind)
    with raises("retrieval.server"):
        ask(kind, server)


def without_end(handler: Handler) -> None:
    """An answer that goes on and on."""
    handler.begin(200, Transfer_Encoding="chunked")
    block = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
    try:
        while not handler.server.released.is_set():
            handler.wfile.write(block)
    except OSError:
        pass


def packed(handler: Handler) -> None:
    """Little that becomes much."""
    handler.send(200, gzip.compress(b" " * (bounded.MOST_BYTES + 1)), Content_Encoding="gzip")


@pytest.mark.parametrize("form", [without_end, packed])
def test_an_answer_is_of_bounded_size(
    kind: Kind, server: Server, form: Callable[[Handler], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MOST_BYTES", 1_000_000)
    server.answer = form
    with raises("retrieval.server", match="longer than"):
        ask(kind, server)


def drip(handler: Handler) -> None:
    """A byte at a time, each before any timeout of one read."""
    handler.begin(200, Content_Length="1000")
    try:
        while not handler.server.released.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()
    except OSError:
        pass


def drip_headers(handler: Handler) -> None:
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not handler.server.released.wait(0.05):
            handler.wfile.write(b"a")
            handler.wfile.flush()
    except OSError:
        pass


@pytest.mark.parametrize("form", [drip, drip_headers])
def test_an_answer_comes_in_bounded_time(kind: Kind, server: Server, form: Callable[[Handler], None]) -> None:
    server.answer = form
    started = time.monotonic()
    with raises("retrieval.server", match=r"did not answer within 0\.3 seconds"):
        ask(kind, server, timeout=0.3)
    assert time.monotonic() - started < 3


def test_a_server_that_finds_more_than_was_asked_for_is_cut_short(kind: Kind, server: Server) -> None:
    server.answer = lambda handler: handler.say(responses([GOOD] * 50))
    assert len(ask(kind, server)[0]) == 3


def test_what_is_packed_is_read(kind: Kind, server: Server) -> None:
    body = gzip.compress(json.dumps(responses([GOOD])).encode())
    server.answer = lambda handler: handler.send(200, body, Content_Encoding="gzip")
    assert ask(kind, server)[0][0].title == "Jordan"
