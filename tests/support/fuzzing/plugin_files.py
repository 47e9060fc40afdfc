"""What the plugins read: corpora, indexes, and what servers answer."""

from __future__ import annotations

import json
from pathlib import Path

from fuzzing.target import Target, below, drained


def corpus(folder: Path, kind: str) -> Target:
    from mmkit_retrieval.corpora.formats import open_corpus

    if kind == "jsonl":
        path = folder / "corpus.jsonl"
        articles = ({"id": str(n), "title": f"T{n}", "text": f"Paris {n}.\n\nIt is old."} for n in range(20))
        path.write_text("".join(json.dumps(article) + "\n" for article in articles), encoding="utf-8")
    else:
        path = folder / "dump.xml"
        text = (
            "'''Paris''' is a [[city|big city]] in {{link|France}}.&lt;ref&gt;x&lt;/ref&gt;\n\n== Past ==\n"
            "* old\n{| class=x\n|-\n| a || b\n|}\n[[File:a.jpg|thumb|upright=1.2|A [[view]]]]\n{{lang|fr|P}}"
        )
        pages = "".join(
            f"<page><title>T{n}</title><ns>0</ns><id>{n}</id><revision><model>wikitext</model>"
            f"<text>{text}</text></revision></page>\n"
            for n in range(6)
        )
        path.write_text(
            "<mediawiki><siteinfo><case>first-letter</case><namespaces>"
            f'<namespace key="6">File</namespace></namespaces></siteinfo>{pages}</mediawiki>'
        )
    read = lambda: drained(open_corpus(path))  # noqa: E731
    read()
    return Target([path], read, folder)


def index(folder: Path, _: str) -> Target:
    from mmkit_retrieval.indexing.build import build_index
    from mmkit_retrieval.indexing.index_folder import read_facts
    from mmkit_retrieval.text.text_index import TextIndex

    corpus = folder / "corpus.jsonl"
    articles = ({"id": str(n), "title": f"T{n}", "text": f"Paris number {n} is old."} for n in range(30))
    corpus.write_text("".join(json.dumps(article) + "\n" for article in articles), encoding="utf-8")
    index = folder / "index"
    build_index(corpus, index, pictures=False)

    def read() -> None:
        read_facts(index)
        TextIndex.open(index / "text").search(["Paris is old"], 5)

    read()
    return Target([path for path in below(index) if not path.name.startswith(".")], read, folder)


def search(folder: Path, kind: str) -> Target:
    """A search server's answer."""
    from fuzzing.servers import Answering
    from mmkit_retrieval.servers.search_servers import SearchServer

    source = {"article": "7", "number": 0, "title": "Jordan", "text": "The river flows ."}
    hits = [{"_index": "wiki", "_id": "1", "_score": 1.5, "_source": source}] * 3
    answer = folder / "answer.json"
    answer.write_text(json.dumps({"took": 1, "responses": [{"status": 200, "hits": {"hits": hits}}]}))
    server = Answering(answer, "Elasticsearch" if kind == "elasticsearch" else "")

    def read() -> None:
        SearchServer(kind, server.url, "wiki", timeout=5).search(["Paris"], 5)  # type: ignore[arg-type]

    read()
    return Target([answer], read, folder)


def chat(folder: Path, _: str) -> Target:
    """A chat server's answer."""
    from fuzzing.servers import Answering
    from mmkit_chat.endpoint import Endpoint
    from mmkit_chat.server import ChatServer

    message = {"role": "assistant", "content": "Paris is a city. It is old."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = folder / "answer.json"
    answer.write_text(json.dumps({"id": "1", "object": "chat.completion", "created": 0, "choices": [choice]}))
    server = Answering(answer, "")

    def read() -> None:
        asked = ChatServer(Endpoint.of(f"{server.url}/v1"), "m", {}, retries=0, timeout=5.0)
        (said,) = asked.ask(["Who is it?"])
        str(said)

    read()
    return Target([answer], read, folder)
