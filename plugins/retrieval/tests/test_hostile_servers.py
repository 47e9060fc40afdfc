"""Search servers that are not to be trusted: who gets a key, and answers of every form."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hostile_server import Answer, Handler, HostileServer, drip, drip_headers, without_end
from mmkit_retrieval.servers import bounded
from mmkit_retrieval.servers.milvus import MilvusImages
from mmkit_retrieval.servers.milvus_client import TOKEN, URI, token_of
from mmkit_retrieval.servers.search_servers import API_KEY, PASSWORD, URL, USER, Kind, SearchServer
from raising import raises

SECRET = "s3cret"
GOOD = {
    "_score": 1.5,
    "_source": {"article": "7", "number": 0, "title": "Jordan", "text": "The river flows ."},
}


class ProductHandler(Handler):
    """Answers with the headers by which the clients know their servers."""

    server: SearchStandIn

    def usual_headers(self) -> dict[str, str]:
        vendor = "vnd.elasticsearch" in (self.headers["Accept"] or "")
        kind = "application/vnd.elasticsearch+json;compatible-with=9" if vendor else "application/json"
        product = {"X-Elastic-Product": self.server.product} if self.server.product else {}
        return {"Content-Type": kind, **product}


class SearchStandIn(HostileServer):
    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__(lambda handler: handler.say(responses([GOOD])), host, ProductHandler)
        self.product = "Elasticsearch"

    @property
    def keys(self) -> list[str | None]:
        """The credentials of each request."""
        return [headers.get("authorization") for headers in self.headers]


def responses(hits: object) -> dict[str, Any]:
    return {"took": 1, "responses": [{"status": 200, "hits": {"hits": hits}}]}


@pytest.fixture
def server() -> Iterator[SearchStandIn]:
    with SearchStandIn() as running:
        yield running


@pytest.fixture
def elsewhere() -> Iterator[SearchStandIn]:
    """Another host: this machine has many addresses."""
    with SearchStandIn("127.0.0.2") as running:
        yield running


@pytest.fixture(params=["elasticsearch", "opensearch"])
def kind(request: pytest.FixtureRequest, server: SearchStandIn) -> Kind:
    if request.param == "opensearch":
        server.product = ""
    kind: Kind = request.param
    return kind


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (API_KEY, USER, PASSWORD, URL, TOKEN, URI):
        monkeypatch.delenv(name, raising=False)


def ask(kind: Kind, server: SearchStandIn | str, timeout: float = 5.0) -> list[list[Any]]:
    url = server if isinstance(server, str) else server.url
    return SearchServer(kind, url, "wiki", timeout=timeout).search(["Paris"], 3)


# Keys


@pytest.mark.parametrize("credentials", [{API_KEY: SECRET}, {USER: "me", PASSWORD: SECRET}])
def test_a_key_goes_to_the_server_named_beside_it_alone(
    kind: Kind,
    server: SearchStandIn,
    elsewhere: SearchStandIn,
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
    kind: Kind, server: SearchStandIn, elsewhere: SearchStandIn, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY, SECRET)
    monkeypatch.setenv(URL, server.url)
    server.answer = lambda handler: handler.send(status, b"", Location=f"{elsewhere.url}/wiki/_msearch")
    with raises("retrieval.server", match="redirects to another address"):
        ask(kind, server)
    assert elsewhere.keys == []


def test_milvus_gets_its_token_where_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert token_of("https://milvus.org:19530") == ""
    monkeypatch.setenv(TOKEN, SECRET)
    with raises("retrieval.key-without-server", match=URI):
        MilvusImages("http://milvus.example.org:19530", "wiki")
    monkeypatch.setenv(URI, "https://milvus.org:19530")
    assert token_of("https://milvus.org:19530") == SECRET
    assert token_of("https://evil.org:19530") == ""
    assert token_of("a/file.db") == ""
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
def test_an_answer_of_another_form_is_one_message(kind: Kind, server: SearchStandIn, form: str) -> None:
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
def test_an_answer_that_is_none_is_one_message(
    kind: Kind, server: SearchStandIn, body: str, status: int
) -> None:
    content, content_kind = BODIES[body]
    server.answer = lambda handler: handler.send(status, content, content_kind)
    with raises("retrieval.server"):
        ask(kind, server)


def packed(handler: Handler) -> None:
    """Little that becomes much."""
    handler.send(200, gzip.compress(b" " * (bounded.MOST_BYTES + 1)), Content_Encoding="gzip")


@pytest.mark.parametrize("form", [without_end, packed])
def test_an_answer_is_of_bounded_size(
    kind: Kind, server: SearchStandIn, form: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MOST_BYTES", 1_000_000)
    server.answer = form
    with raises("retrieval.server", match="longer than"):
        ask(kind, server)


@pytest.mark.parametrize("form", [drip, drip_headers])
def test_an_answer_comes_in_bounded_time(kind: Kind, server: SearchStandIn, form: Answer) -> None:
    server.answer = form
    started = time.monotonic()
    with raises("retrieval.server", match=r"did not answer within 0\.3 seconds"):
        ask(kind, server, timeout=0.3)
    assert time.monotonic() - started < 3


def test_a_server_that_finds_more_than_was_asked_for_is_cut_short(kind: Kind, server: SearchStandIn) -> None:
    server.answer = lambda handler: handler.say(responses([GOOD] * 50))
    assert len(ask(kind, server)[0]) == 3


def test_what_is_packed_is_read(kind: Kind, server: SearchStandIn) -> None:
    body = gzip.compress(json.dumps(responses([GOOD])).encode())
    server.answer = lambda handler: handler.send(200, body, Content_Encoding="gzip")
    assert ask(kind, server)[0][0].title == "Jordan"
