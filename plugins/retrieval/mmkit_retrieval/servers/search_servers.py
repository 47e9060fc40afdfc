"""Text retrieval from a server with Elasticsearch's search interface, for an index that is too large for one machine.

The index on the server has one document for each paragraph, with the four fields of the index on disk:

    {"mappings": {"properties": {
        "article": {"type": "keyword"},     the article's id
        "number":  {"type": "integer"},     the paragraph's position in it, from 0
        "title":   {"type": "text"},        the article's title
        "text":    {"type": "text"}}}}      the paragraph

A query is a `multi_match` of type `most_fields` over title and text. With the server's default similarity, this is the
same sum of BM25 scores as on disk. The analyser of the server's index decides how text is split into words.

Credentials come only from environment variables: `MMKIT_SEARCH_API_KEY`, or `MMKIT_SEARCH_USER` with
`MMKIT_SEARCH_PASSWORD`. They are sent only to the server that `MMKIT_SEARCH_URL` names, and only over https or on this
machine. Redirects are not followed. Messages, logs and stored results never contain them, even if a server repeats them
(but at level DEBUG the clients log complete answers).

Answers are not trusted: size, total time and contents are checked.

The clients are the official ones (`elasticsearch` 9 and `opensearch-py` 3, optional extras of this package). They were
tested against a stand-in for the part of the protocol that is used, not against a running Elasticsearch or OpenSearch.
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
"""The environment variables with credentials."""

URL = "MMKIT_SEARCH_URL"
"""The environment variable with the address of the server, or servers, to which credentials are sent."""

QUERIES = 64
"""The most queries in one request."""

_HITS = 2000
"""About the most hits of one request. With more, an answer could be longer than is accepted."""

_WORDS = 256
"""The most words of a query. Servers refuse more than 1024 clauses; a word is at least one clause in each field."""
_REQUESTS = 4
_FIELDS = ("article", "number", "title", "text")
_REASON_LENGTH = 200


class SearchServer:
    """An index on a search server.

    Args:
        kind: which official client to use. Each client refuses servers of the other kind.
        url: the address of the server, such as `https://host:9200`, without credentials.
        index: the name of the index, or an alias.
        timeout: seconds to wait for the complete answer to a request.
        ca_certs: a file of certificates to trust besides the usual ones, if the server has its own.

    Raises `PartError` if the address cannot be used or may not be contacted, if no server is named for the credentials,
    if they would be sent over a network in plain text, and if the client is not installed.
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

        A query is plain text; only its first 256 words are used. A request has up to `QUERIES` queries, fewer if `top`
        is large. `threads` requests (by default 4) run at the same time. Raises one `DataError` if the server cannot be
        reached, does not answer in time, or refuses, and if its answer or its documents do not have the form described
        above.
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
        """The server's answers to the queries of one request, one for each query."""
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
            raise self._refusal(error) from None  # the client's own error may contain the request
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
                    f"in a document of the index {self.index!r}, {name!r} is neither a string nor an integer",
                    "each is a paragraph with the fields " + ", ".join(_FIELDS),
                )
        score = hit.get("_score")
        if isinstance(score, bool) or not isinstance(score, int | float) or not isfinite(score):
            raise self._no_answer()
        return Retrieved(f"{article}#{number}", str(article), str(title), str(text), float(score))

    def _refusal(self, error: Exception) -> DataError:
        """The error for a request that failed."""
        status, kind = getattr(error, "status_code", 0), type(error).__name__
        reason = self._redacted(_reason(error))
        if "Timeout" in kind:
            return self._too_slow()
        causes = _causes(error)
        if any(isinstance(cause, TooLongError) for cause in causes):
            what = f"the search server's answer is longer than {MOST_BYTES // 1_000_000} million bytes"
            return self._error(what, "check `url`, and what `index` contains")
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
            hint = f"check {API_KEY}, or {USER} and {PASSWORD}, and that they give access to this index"
            if not self._secrets:
                hint = f"set {API_KEY}, or {USER} and {PASSWORD}; they are sent only if {URL} is {self.url}"
            return self._error("the search server refuses access", hint)
        if status == 404:
            return self._error(f"the search server has no index {self.index!r}", "check `index` and `url`")
        return self._error(f"the search server refused: {reason}", "see its log")

    def _too_slow(self) -> DataError:
        what = f"the search server did not answer within {self.timeout:g} seconds"
        return self._error(what, "check how busy it is, or allow more time (`timeout`)")

    def _no_answer(self) -> DataError:
        return self._error("the search server's answer is not in the form of search results", "check `url`")

    def _error(self, what: str, hint: str) -> DataError:
        return DataError(what, where=self.url, hint=hint, code="retrieval.server")

    def _redacted(self, text: str) -> str:
        """`text` without credentials, in case a server repeats them, and not longer than a message should be."""
        user, password = self._secrets.get(USER, ""), self._secrets.get(PASSWORD, "")
        basic = base64.b64encode(f"{user}:{password}".encode()).decode() if password else ""
        for secret in (self._secrets.get(API_KEY), basic, password):
            if secret:
                text = text.replace(secret, "***")
        return text[:_REASON_LENGTH]


_MALFORMED = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What the clients, or this module, raise if an answer does not have the form of search results."""


def _causes(error: Exception) -> list[object]:
    """All causes that a client's error names."""
    return [*getattr(error, "errors", ()), *error.args, error.__cause__, error.__context__]


class _Answer(Exception):  # noqa: N818 - an answer that says that one query was refused
    """The refusal of one query, with the attributes of the clients' errors."""

    def __init__(self, status_code: int, body: Mapping[str, Any]) -> None:
        super().__init__()
        self.status_code, self.body = status_code, body


def checked_url(url: str) -> str:
    """`url`, if it is an address without credentials. Otherwise raises `PartError`, which does not repeat it."""
    hint = f"example: https://host:9200; put credentials into {API_KEY}, or {USER} and {PASSWORD}"
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
    """The credentials for the server at `url`, by variable; none if `URL` names another server. Raises `PartError`."""
    secrets = {
        name: value for name in (API_KEY, USER, PASSWORD) if (value := os.environ.get(name, "").strip())
    }
    if (USER in secrets) != (PASSWORD in secrets):
        raise PartError(
            f"{USER} and {PASSWORD} are needed together, but one of them is not set",
            where=url,
            code="retrieval.half-credentials",
        )
    if not all(value.isprintable() for value in secrets.values()):
        raise PartError(
            f"{' or '.join(secrets)} has characters that are not allowed in an HTTP header",
            where=url,
            hint="copy it again",
            code="retrieval.bad-credentials",
        )
    if secrets and not os.environ.get(URL, "").strip():
        raise PartError(
            f"{' and '.join(secrets)} are sent only to the server that {URL} names, and {URL} is not set",
            where=url,
            hint=f"to send them to this server: export {URL}={url}",
            code="retrieval.key-without-server",
        )
    return secrets if secrets and key_goes_to(url, URL) else {}


def _elasticsearch(
    url: str, timeout: float, ca_certs: str | None, secrets: Mapping[str, str]
) -> tuple[Any, tuple[type[Exception], ...]]:
    """The client, and the types of its errors."""
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
    """The client, and the types of its errors."""
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
    """Keep a client from logging its errors with a traceback, unless the user has set a level."""
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
    """`url` with a port, which the clients need. The default is that of a browser."""
    parts = urlsplit(url)
    if parts.port is not None:
        return url
    port = 443 if parts.scheme == "https" else 80
    return parts._replace(netloc=f"{parts.netloc}:{port}").geturl()


def _cut(query: str) -> str:
    """The words of a query that are used."""
    return " ".join(encodable(query).split()[:_WORDS])


def _reason(error: Exception) -> str:
    """The reason that a server gave, on one line, or else the message of the client."""
    body = getattr(error, "body", None) or getattr(error, "info", None)
    said = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(said, Mapping):
        root = said.get("root_cause")
        known = [*(root if isinstance(root, list) else ()), said]
        causes = [cause for cause in known if isinstance(cause, Mapping) and cause.get("reason")]
        said = causes[0]["reason"] if causes else said.get("type")
    return " ".join(str(said).split()) if said else one_line(error)
