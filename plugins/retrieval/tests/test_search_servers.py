"""Search servers: the official clients against a stand-in that speaks the used part of their interface.

The stand-in ranks by the number of shared words. An index's name says how requests to it are treated.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mmkit.annotators.run import annotate
from mmkit.data.types import SOURCES, Example
from mmkit.errors import DataError, PartError
from mmkit_retrieval.annotators.text_retrieval import TextRetrieval
from mmkit_retrieval.retrieved import Retrieved
from mmkit_retrieval.servers.search_servers import API_KEY, PASSWORD, QUERIES, URL, USER, Kind, SearchServer
from raising import raises

SECRET = "s3cret/key=="
PARAGRAPHS = [
    {"article": "7", "number": 0, "title": "Jordan", "text": "The river Jordan flows south ."},
    {"article": "7", "number": 1, "title": "Jordan", "text": "Amman is its capital ."},
    {"article": "9", "number": 0, "title": "Paris", "text": "Paris is a city in France ."},
]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str], list[dict[str, Any]]]] = []
        self.product = "Elasticsearch"
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        lines = [json.loads(line) for line in body.splitlines()]
        self.server.seen.append((self.path, dict(self.headers), lines))
        index, _, action = self.path.split("?")[0].strip("/").partition("/")
        if index == "hanging":
            self.server.released.wait(60)  # nobody listens any more
            self.close_connection = True
            return
        if action != "_msearch":
            self.answer(405, {"error": "no such action"})
        elif index in STATUSES:
            self.answer(STATUSES[index], refusal(f"{index} says {self.headers['Authorization']}"))
        elif index == "garbage":
            self.answer(200, {"hello": "world"})
        else:
            self.answer(200, {"responses": [search(index, query) for query in lines[1::2]]})

    def answer(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        accepted = self.headers["Accept"] or ""
        vendor = "application/vnd.elasticsearch+json;compatible-with=9"
        self.send_header("Content-Type", vendor if "vnd.elasticsearch" in accepted else "application/json")
        if self.server.product:
            self.send_header("X-Elastic-Product", self.server.product)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


STATUSES = {"locked": 401, "forbidden": 403, "missing": 404, "broken": 400}


def refusal(reason: str) -> dict[str, Any]:
    cause = {"type": "some_exception", "reason": reason}
    return {"error": {"root_cause": [cause], **cause}, "status": 400}


def search(index: str, query: dict[str, Any]) -> dict[str, Any]:
    """The paragraphs that share words with a query, as a server lists them."""
    match = query["query"]["multi_match"]
    assert (match["type"], match["fields"]) == ("most_fields", ["title", "text"])
    if index == "clauses" and len(match["query"].split()) > 2:
        return refusal("too many clauses")
    words = set(match["query"].lower().split())
    hits = []
    for number, source in enumerate(PARAGRAPHS):
        shared = sum(len(words & set(str(source[field]).lower().split())) for field in match["fields"])
        kept = {name: source[name] for name in query["_source"] if not (index == "bare" and name == "title")}
        hits += [{"_index": index, "_id": str(number), "_score": shared, "_source": kept}] if shared else []
    hits = sorted(hits, key=lambda hit: -hit["_score"])[: query["size"]]
    return {"took": 1, "status": 200, "hits": {"total": {"value": len(hits)}, "hits": hits}}


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield running
    running.released.set()
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(params=["elasticsearch", "opensearch"])
def kind(request: pytest.FixtureRequest, server: Server) -> Kind:
    if request.param == "opensearch":
        server.product = ""
    kind: Kind = request.param
    return kind


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name in (API_KEY, USER, PASSWORD, URL):
        monkeypatch.delenv(name, raising=False)


def test_finds_what_the_server_finds(server: Server, kind: Kind) -> None:
    found = SearchServer(kind, server.url, "wiki").search(["the Jordan", "zzz", "", "Paris"], 5)
    assert found == [
        [
            Retrieved("7#0", "7", "Jordan", "The river Jordan flows south .", 3.0),
            Retrieved("7#1", "7", "Jordan", "Amman is its capital .", 1.0),
        ],
        [],
        [],
        [Retrieved("9#0", "9", "Paris", "Paris is a city in France .", 2.0)],
    ]
    ((path, _, lines),) = server.seen
    assert path.startswith("/wiki/_msearch")
    assert len(lines) == 6, "a query without a word is not asked"


def test_many_queries_are_few_requests_and_keep_their_order(server: Server, kind: Kind) -> None:
    queries = ["Paris" if n % 3 else "Amman" for n in range(2 * QUERIES + 5)]
    found = SearchServer(kind, server.url, "wiki").search(queries, 1, threads=3)
    assert [hits[0].article for hits in found] == ["9" if n % 3 else "7" for n in range(len(queries))]
    assert sorted(len(lines) // 2 for _, _, lines in server.seen) == [5, QUERIES, QUERIES]
    assert SearchServer(kind, server.url, "wiki").search([], 1) == []


@pytest.mark.parametrize(
    "query", ['Paris AND (title:"', "Paris \\ * ? ~ ^ 😀", "Paris \ud800", "\x00Paris \n\r{}"]
)
def test_queries_are_sent_as_plain_text(server: Server, kind: Kind, query: str) -> None:
    (hits,) = SearchServer(kind, server.url, "wiki").search([query], 1)
    asked = server.seen[0][2][1]["query"]["multi_match"]["query"]
    assert asked == " ".join(query.replace("\ud800", "?").split())
    assert bool(hits) == ("Paris" in asked.split())


def test_long_queries_are_cut(server: Server, kind: Kind) -> None:
    SearchServer(kind, server.url, "wiki").search(["Paris " * 10_000], 1)
    assert server.seen[0][2][1]["query"]["multi_match"]["query"].split() == ["Paris"] * 256


@pytest.mark.parametrize(
    ("index", "what"),
    [
        ("locked", "refuses access"),
        ("forbidden", "refuses access"),
        ("missing", "has no index 'missing'"),
        ("broken", "refused: broken says"),
        ("garbage", "is not in the form of search results"),
        ("clauses", "refused: too many clauses"),
        ("bare", "has no field 'title'"),
    ],
)
def test_refusals_are_one_message(server: Server, kind: Kind, index: str, what: str) -> None:
    with raises("retrieval.server", match=what) as error:
        SearchServer(kind, server.url, index).search(["Paris", "Paris is a city"] * 100, 5)
    assert error.value.where == server.url
    assert error.value.hint


def test_a_server_that_hangs_is_given_up(server: Server, kind: Kind) -> None:
    with raises("retrieval.server", match=r"not answer within 0\.2 seconds"):
        SearchServer(kind, server.url, "hanging", timeout=0.2).search(["Paris"] * 200, 5, threads=2)


def test_a_server_that_is_not_there(server: Server, kind: Kind) -> None:
    unused = Server()
    url = unused.url
    unused.server_close()
    with raises("retrieval.server", match="cannot be reached"):
        SearchServer(kind, url, "wiki").search(["Paris"], 5)


def test_each_client_says_which_server_it_wants(server: Server) -> None:
    server.product = ""
    with raises("retrieval.server", match="not an Elasticsearch server") as error:
        SearchServer("elasticsearch", server.url, "wiki").search(["Paris"], 5)
    assert "opensearch" in error.value.hint


@pytest.mark.parametrize("by", ["key", "password"])
@pytest.mark.parametrize("index", ["wiki", "broken", "locked"])
def test_credentials_are_sent_and_never_shown(
    server: Server,
    kind: Kind,
    by: str,
    index: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    basic = base64.b64encode(f"me:{SECRET}".encode()).decode()
    for name, value in ({API_KEY: SECRET} if by == "key" else {USER: "me", PASSWORD: SECRET}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(URL, server.url)
    retrieval = TextRetrieval(index, engine=kind, url=server.url)
    shown = repr(vars(retrieval)) + retrieval.fingerprint()
    # Below INFO the clients log a server's answers word by word, and these two repeat what they were sent.
    with caplog.at_level(logging.DEBUG if index == "wiki" else logging.INFO):
        try:
            (noted,) = annotate(retrieval, [Example.from_tokens("1", ["Paris"])])
            shown += repr(noted)
        except DataError as error:
            shown += f"{error} {error!r} {''.join(traceback.format_exception(error))}"
    sent = server.seen[0][1]
    expected = f"ApiKey {SECRET}" if by == "key" else f"Basic {basic}"
    assert {name.lower(): value for name, value in sent.items()}["authorization"] == expected
    assert SECRET not in shown + caplog.text
    assert basic not in shown + caplog.text


def test_a_user_without_a_password_is_refused(
    server: Server, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(USER, "me")
    with raises("retrieval.half-credentials"):
        SearchServer(kind, server.url, "wiki")
    with raises("retrieval.half-credentials"):
        TextRetrieval("wiki", engine=kind, url=server.url).check_computable()
    assert not server.seen


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{SECRET}@host:9200",
        f"https://{SECRET.replace('/', '')}@host",
        f"https://host/?key={SECRET}",
        f"file:///{SECRET}",
        SECRET,
        "",
        f"http://host:port/{SECRET}",
    ],
)
def test_an_address_holds_no_credentials(url: str) -> None:
    with pytest.raises(PartError, match="`url`") as error:
        TextRetrieval("wiki", engine="opensearch", url=url)
    shown = "".join(traceback.format_exception(error.value))
    assert "s3cret" not in shown.replace(repr(url), "")


def test_a_missing_client_comes_with_the_command_that_installs_it(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "elasticsearch" if kind == "elasticsearch" else "opensearchpy", None)
    with raises("part.needs-package", match=f'engine = "{kind}"') as error:
        SearchServer(kind, "http://localhost:9200", "wiki")
    assert error.value.hint == f'pip install "mmkit-retrieval[{kind}]"'
    with raises("part.needs-package"):
        TextRetrieval("wiki", engine=kind, url="http://localhost:9200").check_computable()


def test_the_annotator_retrieves_from_a_server_once(server: Server, kind: Kind) -> None:
    examples = [Example.from_tokens(str(n), ["The", "Jordan", str(n % 2)]) for n in range(4)]
    first = annotate(TextRetrieval("wiki", engine=kind, url=server.url), examples)
    assert [source["id"] for source in first[0].notes[SOURCES]] == ["7#0", "7#1"]
    assert first[0].notes["retrieval.text_context"] == "The river Jordan flows south . Amman is its capital ."
    assert annotate(TextRetrieval("wiki", engine=kind, url=server.url + "/", threads=1), examples) == first
    assert len(server.seen) == 1, "what is stored is not asked again"
    annotate(TextRetrieval("wiki", engine=kind, url=server.url, snapshot="2027"), examples)
    assert len(server.seen) == 2


def test_engines_and_addresses_go_together() -> None:
    with raises("retrieval.engine-setting", match="needs a `url`"):
        TextRetrieval("wiki", engine="elasticsearch")
    with raises("retrieval.engine-setting", match="takes no `url`"):
        TextRetrieval("index", url="http://localhost:9200")
