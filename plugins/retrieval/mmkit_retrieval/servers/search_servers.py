"""Text retrieval from a server with Elasticsearch's search interface, for an index too large for one machine.

The server's index holds a document a paragraph, with four fields, which the index on disk has as well:

    {"mappings": {"properties": {
        "article": {"type": "keyword"},     the article's id
        "number":  {"type": "integer"},     the paragraph's place in it, from 0
        "title":   {"type": "text"},        the article's title
        "text":    {"type": "text"}}}}      the paragraph

Queries are `multi_match` of type `most_fields` over title and text: the same sum of BM25 scores, if the server keeps
its default similarity. How words are cut is the server's choice of analyser.

Credentials come from the environment alone, `MMKIT_SEARCH_API_KEY`, or `MMKIT_SEARCH_USER` with
`MMKIT_SEARCH_PASSWORD`. They are sent to the server that `MMKIT_SEARCH_URL` names and to no other, over https or on
this machine, and no redirect is followed. No message, log or stored result has them, even if a server repeats what it
was sent (only at level DEBUG do the clients log answers word by word).

An answer is not trusted: its size, its time as a whole, and everything in it is checked.

The clients are the official ones (`elasticsearch` 9 and `opensearch-py` 3, optional extras of this package). They were
tested against a stand-in that speaks the part of the protocol that is used, not against a running Elasticsearch or
OpenSearch.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from typing import Any, Literal
from urllib.parse import urlsplit

from mmkit.access.network import check_network
from mmkit.access.servers import key_goes_to
from mmkit.errors import DataError, PartError, one_line
from mmkit_retrieval.retrieved import Retrieved
from mmkit_retrieval.servers.bounded import MOST_BYTES, TooLongError, TooSlowError, bound, in_time
from mmkit_retrieval.text.text_index import encodable

Kind = Literal["elasticsearch", "opensearch"]

API_KEY, USER, PASSWORD = "MMKIT_SEARCH_API_KEY", "MMKIT_SEARCH_USER", "MMKIT_SEARCH_PASSWORD"
"""Environment variables."""

URL = "MMKIT_SEARCH_URL"
"""The environment variable that names the server, or servers, that get what those hold."""

QUERIES = 64
"""Queries of one request, at most."""

_HITS = 2000
"""Hits of one request, about: more of them would be an answer too long to take."""

_WORDS = (
    256  # of a query: servers refuse more than 1024 clauses, and a word is at least one in each of two fields
)
_REQUESTS = 4
_FIELDS = ("article", "number", "title", "text")
_REASON_LENGTH = 200


class SearchServer:
    """An index of a search server.

    Args:
        kind: which official client to use; each refuses the other's servers.
        url: where the server is, `https://host:9200`, without credentials.
        index: the index's name, or an alias of one.
        timeout: seconds until a request that is not answered, to the end, is given up.
        ca_certs: a file of certificates to trust besides the usual ones, where the server has its own.

    Raises `PartError` for an address that cannot be used or may not be contacted, for a key that goes to no server or
    would go over a network in plain text, and where the client is not installed.
    """

    def __init__(
        self, kind: Kind, url: str, index: str, *, timeout: float = 30.0, ca_certs: str | None = None
    ) -> None:
        self.kind, self.url, self.index = kind, checked_url(url), index
        self.timeout = timeout
        check_network(self.url)
        self._secrets = _secrets(self.url)
        make = _elasticsearch if kind == "elasticsearch" else _opensearch
        self._client, self._errors = make(self.url, timeout, ca_certs, self._secrets)

    def search(self, queries: Sequence[str], top: int, threads: int | None = None) -> list[list[Retrieved]]:
        """For each query, at most `top` paragraphs that share a word with it, best first.

        A query is plain text, of which the first 256 words count. `QUERIES` of them go in a request, fewer where `top`
        is large, and `threads` requests (by default 4) are under way at a time. Raises `DataError`, once for all of
        them, if the server cannot be reached, does not answer in time, or refuses, or if its answer or its documents
        are others than described above.
        """
        check_network(self.url)
        size = max(1, min(QUERIES, _HITS // max(1, top)))
        chunks = [queries[start : start + size] for start in range(0, len(queries), size)]
        with ThreadPoolExecutor(max(1, min(threads or _REQUESTS, len(chunks)))) as pool:
            waiting = [pool.submit(self._search, chunk, top) for chunk in chunks]
            try:
                return [hits for chunk in waiting for hits in chunk.result()]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _search(self, queries: Sequence[str], top: int) -> list[list[Retrieved]]:
        asked = [(row, plain) for row, query in enumerate(queries) if (plain := _cut(query))]
        found: list[list[Retrieved]] = [[] for _ in queries]
        if asked:
            for (row, _), answer in zip(asked, self._ask([plain for _, plain in asked], top), strict=True):
                found[row] = [self._retrieved(hit) for hit in self._hits(answer)[:top]]
        return found

    def _ask(self, queries: Sequence[str], top: int) -> list[Mapping[str, Any]]:
        """The server's answers to the queries of one request."""
        lines: list[dict[str, Any]] = []
        for query in queries:
            match = {"query": query, "fields": ["title", "text"], "type": "most_fields"}
            lines += [{}, {"query": {"multi_match": match}, "size": top, "_source": list(_FIELDS)}]
        named = "searches" if self.kind == "elasticsearch" else "body"
        try:
            whole = in_time(
                lambda: self._client.msearch(index=self.index, **{named: lines}), seconds=self.timeout
            )
            answers = whole["responses"]
        except self._errors as error:
            raise self._refusal(error) from None  # the client's own error may show the request
        except TooSlowError:
            raise self._too_slow() from None
        except _MALFORMED:
            raise self._no_answer() from None
        if not isinstance(answers, list) or not all(isinstance(answer, Mapping) for answer in answers):
            raise self._no_answer()
        for answer in answers:
            if "error" in answer:
                status = answer.get("status")
                raise self._refusal(_Answer(status if isinstance(status, int) else 0, answer))
        if len(answers) != len(queries):
            raise self._error(
                f"the search server answered {len(answers)} of {len(queries)} queries", "see its log"
            )
        return list(answers)

    def _hits(self, answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The hits of an answer to one query."""
        outer = answer.get("hits")
        hits = outer.get("hits") if isinstance(outer, Mapping) else None
        if not isinstance(hits, list) or not all(isinstance(hit, Mapping) for hit in hits):
            raise self._no_answer()
        return hits

    def _retrieved(self, hit: Mapping[str, Any]) -> Retrieved:
        fields = hit.get("_source") or {}
        if not isinstance(fields, Mapping):
            raise self._no_answer()
        if missing := [name for name in _FIELDS if name not in fields]:
            raise self._error(
                f"a document of the index {self.index!r} has no field {missing[0]!r}",
                "each is a paragraph with the fields " + ", ".join(_FIELDS),
            )
        article, number, title, text = (fields[name] for name in _FIELDS)
        for name in _FIELDS:
            if not isinstance(fields[name], str | int):
                raise self._error(
                    f"in a document of the index {self.index!r}, {name!r} is no text and no whole number",
                    "each is a paragraph with the fields " + ", ".join(_FIELDS),
                )
        score = hit.get("_score")
        if isinstance(score, bool) or not isinstance(score, int | float) or not isfinite(score):
            raise self._no_answer()
        return Retrieved(f"{article}#{number}", str(article), str(title), str(text), float(score))

    def _refusal(self, error: Exception) -> DataError:
        """What the user is told of a request that failed."""
        status, kind = getattr(error, "status_code", 0), type(error).__name__
        reason = self._redacted(_reason(error))
        if "Timeout" in kind:
            return self._too_slow()
        causes = _causes(error)
        if any(isinstance(cause, TooLongError) for cause in causes):
            what = f"the search server's answer is longer than {MOST_BYTES // 1_000_000} million bytes"
            return self._error(what, "check `url`, and what `index` holds")
        if kind == "SerializationError" or any(isinstance(cause, _MALFORMED) for cause in causes):
            return self._no_answer()
        if isinstance(status, int) and 300 <= status < 400:
            return self._error(
                "the search server redirects to another address", "give the new address as `url`"
            )
        if kind in ("TlsError", "SSLError"):
            return self._error(f"no secure connection: {reason}", "check the certificate, and `ca_certs`")
        if kind == "ConnectionError":
            return self._error("the search server cannot be reached", "start it, or check `url`")
        if kind == "UnsupportedProductError":
            return self._error(
                "this is not an Elasticsearch server", 'check `url`, or try engine = "opensearch"'
            )
        if status in (401, 403):
            hint = f"check {API_KEY}, or {USER} and {PASSWORD}, and what they may read"
            if not self._secrets:
                hint = f"it gets {API_KEY}, or {USER} and {PASSWORD}, if {URL} names it: {self.url}"
            return self._error("the search server refuses access", hint)
        if status == 404:
            return self._error(f"the search server has no index {self.index!r}", "check `index` and `url`")
        return self._error(f"the search server refused: {reason}", "see its log")

    def _too_slow(self) -> DataError:
        what = f"the search server did not answer within {self.timeout:g} seconds"
        return self._error(what, "check how busy it is, or allow more time (`timeout`)")

    def _no_answer(self) -> DataError:
        return self._error("the search server's answer is not an answer to a search", "check `url`")

    def _error(self, what: str, hint: str) -> DataError:
        return DataError(what, where=self.url, hint=hint, code="retrieval.server")

    def _redacted(self, text: str) -> str:
        """`text` without secrets, in case a server repeats them."""
        user, password = self._secrets.get(USER, ""), self._secrets.get(PASSWORD, "")
        basic = base64.b64encode(f"{user}:{password}".encode()).decode() if password else ""
        for secret in (self._secrets.get(API_KEY), basic, password):
            if secret:
                text = text.replace(secret, "***")
        return text[:_REASON_LENGTH]


_MALFORMED = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Errors, of the clients or here, for an answer that does not have the interface's form."""


def _causes(error: Exception) -> list[object]:
    """What the clients say that an error of theirs comes from."""
    return [*getattr(error, "errors", ()), *error.args, error.__cause__, error.__context__]


class _Answer(Exception):  # noqa: N818 - one query's refusal among others' answers
    """A refusal in the form that the clients' own errors have."""

    def __init__(self, status_code: int, body: Mapping[str, Any]) -> None:
        super().__init__()
        self.status_code, self.body = status_code, body


def checked_url(url: str) -> str:
    """`url`, if it is an address and nothing more. Raises `PartError`, which does not repeat it, otherwise."""
    hint = f"it looks like https://host:9200; credentials go into {API_KEY}, or {USER} and {PASSWORD}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise PartError(
            "`url` is not the web address of a server", hint=hint, code="retrieval.server-address"
        )
    if parts.username or parts.password or parts.query or parts.fragment or "@" in url:
        raise PartError(
            "`url` contains more than an address, perhaps credentials",
            hint=hint,
            code="retrieval.credentials",
        )
    return url.rstrip("/")


def _secrets(url: str) -> dict[str, str]:
    """What the environment's variables hold, those that are set, if the server at `url` is to get it; else nothing."""
    secrets = {
        name: value for name in (API_KEY, USER, PASSWORD) if (value := os.environ.get(name, "").strip())
    }
    if (USER in secrets) != (PASSWORD in secrets):
        raise PartError(
            f"{USER} and {PASSWORD} go together, but one of them is not set",
            where=url,
            code="retrieval.half-credentials",
        )
    if not all(value.isprintable() for value in secrets.values()):
        raise PartError(
            f"{' or '.join(secrets)} has characters that a header cannot have",
            where=url,
            hint="copy it again",
            code="retrieval.bad-credentials",
        )
    if secrets and not os.environ.get(URL, "").strip():
        raise PartError(
            f"{' and '.join(secrets)} may be sent to only one server, and {URL} does not say which",
            where=url,
            hint=f"if it is this one: export {URL}={url}",
            code="retrieval.key-without-server",
        )
    return secrets if secrets and key_goes_to(url, URL) else {}


def _elasticsearch(
    url: str, timeout: float, ca_certs: str | None, secrets: Mapping[str, str]
) -> tuple[Any, tuple[type[Exception], ...]]:
    """The client, and what it raises."""
    try:
        import elasticsearch
    except ImportError as error:
        raise _missing("elasticsearch") from error
    options: dict[str, Any] = {"hosts": _with_port(url), "request_timeout": timeout}
    if ca_certs:
        options["ca_certs"] = ca_certs
    if API_KEY in secrets:
        options["api_key"] = secrets[API_KEY]
    elif USER in secrets:
        options["basic_auth"] = (secrets[USER], secrets[PASSWORD])
    errors = (elasticsearch.ApiError, elasticsearch.TransportError)
    _hush("elastic_transport")
    client = elasticsearch.Elasticsearch(**options)
    for node in client.transport.node_pool.all():
        bound(node.pool)  # type: ignore[attr-defined]
    return client, errors


def _opensearch(
    url: str, timeout: float, ca_certs: str | None, secrets: Mapping[str, str]
) -> tuple[Any, tuple[type[Exception], ...]]:
    """The client, and what it raises."""
    try:
        import opensearchpy
    except ImportError as error:
        raise _missing("opensearch") from error
    options: dict[str, Any] = {"hosts": [_with_port(url)], "timeout": timeout}
    if ca_certs:
        options["ca_certs"] = ca_certs
    if API_KEY in secrets:
        options["headers"] = {"Authorization": f"ApiKey {secrets[API_KEY]}"}
    elif USER in secrets:
        options["http_auth"] = (secrets[USER], secrets[PASSWORD])
    _hush("opensearch")
    client = opensearchpy.OpenSearch(**options)
    for connection in client.transport.connection_pool.connections:
        bound(connection.pool)
    return client, (opensearchpy.exceptions.OpenSearchException,)


def _hush(name: str) -> None:
    """Keep a client from logging, with a traceback, what its errors say; whoever set a level of their own has it."""
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.ERROR)


def _missing(extra: str) -> PartError:
    return PartError(
        f'engine = "{extra}" needs a client',
        hint=f'pip install "mmkit-retrieval[{extra}]"',
        code="part.needs-package",
    )


def _with_port(url: str) -> str:
    """`url` with the port that a browser would use, as the clients want it said."""
    parts = urlsplit(url)
    if parts.port is not None:
        return url
    port = 443 if parts.scheme == "https" else 80
    return parts._replace(netloc=f"{parts.netloc}:{port}").geturl()


def _cut(query: str) -> str:
    """The words of a query that count."""
    return " ".join(encodable(query).split()[:_WORDS])


def _reason(error: Exception) -> str:
    """What a server said, on one line: the first reason it gives, else the client's words."""
    body = getattr(error, "body", None) or getattr(error, "info", None)
    said = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(said, Mapping):
        root = said.get("root_cause")
        known = [*(root if isinstance(root, list) else ()), said]
        causes = [cause for cause in known if isinstance(cause, Mapping) and cause.get("reason")]
        said = causes[0]["reason"] if causes else said.get("type")
    return " ".join(str(said).split()) if said else one_line(error)
