"""`retrieval.text.v1`: the paragraphs of a corpus that are most similar to a sentence, as its context."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mmkit.annotators.base import Annotator
from mmkit.data.types import Example
from mmkit.errors import PartError
from mmkit_retrieval.annotators.contexts import (
    SPARE,
    TEXT_CONTEXT,
    choose,
    join,
    packed,
    unpacked,
    with_context,
)
from mmkit_retrieval.annotators.sample_corpus import write_corpus
from mmkit_retrieval.servers.search_servers import SearchServer, checked_url
from mmkit_retrieval.text.text_files import identity

if TYPE_CHECKING:
    from mmkit_retrieval.text.text_index import TextIndex


class TextRetrieval(Annotator):
    """Retrieves paragraphs by BM25, with the sentence as the query, and stores their texts as a note.

    MoRe (Wang et al., EMNLP Findings 2022) searches Wikipedia's paragraphs in this way. The note joins the texts of the
    `top` best paragraphs. A paragraph that is the sentence itself is left out (`choose` in `annotators/contexts.py`).
    If nothing is found, there is no note. The note `mmkit.sources` lists the paragraphs.

    A subclass can write another note under its own part name: see `part`, `note` and `write_sample_corpus`.

    Args:
        index: the folder that `mmkit retrieval build-index` wrote, or the name of an index on a search server.
        top: the largest number of paragraphs in a context.
        max_words: the largest number of words in a context, separated by white space. Encoders cut it further if it
            is too long.
        engine: `tantivy` for an index on disk; the others are servers (`servers/search_servers.py`).
        url: the server's address, without credentials, which come from environment variables.
        snapshot: for servers, a name of your choice for the content of the index. Results are stored under it. A
            server does not report that its index has changed, so change this name when you change the index.
        timeout: seconds to wait for a server's answer.
        ca_certs: a file of certificates to trust, for servers that have their own.
        threads: how many searches run at the same time, by default one for each core; on a server, how many requests,
            by default 4.
    """

    part: ClassVar[str] = "retrieval.text.v1"
    """The name under which the part is registered. Stored results and sources carry it."""
    note: ClassVar[str] = TEXT_CONTEXT
    """The key of the note."""
    batch_size = 1024

    def __init__(
        self,
        index: str,
        top: int = 10,
        max_words: int = 400,
        engine: Literal["tantivy", "elasticsearch", "opensearch"] = "tantivy",
        url: str | None = None,
        snapshot: str = "",
        timeout: float = 30.0,
        ca_certs: str | None = None,
        threads: int | None = None,
    ) -> None:
        for name, value in {
            "top": top,
            "max_words": max_words,
            "timeout": timeout,
            "threads": threads,
        }.items():
            if value is not None and value <= 0:
                raise PartError(
                    f"{name} = {value}, but it must be positive", where=self.part, code="part.setting"
                )
        if (engine == "tantivy") != (url is None):
            what = "needs a `url`" if url is None else "searches a folder, and takes no `url`"
            raise PartError(f'engine = "{engine}" {what}', where=self.part, code="retrieval.engine-setting")
        self.index, self.top, self.max_words = index, top, max_words
        self.engine, self.url, self.snapshot = engine, checked_url(url) if url is not None else None, snapshot
        self.timeout, self.ca_certs, self.threads = timeout, ca_certs, threads
        self._searched: TextIndex | SearchServer | None = None

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Build the text index of the sample corpus."""
        from mmkit.encoders.sampling import make_once
        from mmkit_retrieval.indexing.build import build_index

        corpus = cls.write_sample_corpus(folder.with_name(f"{folder.name}-corpus"), seed, examples)

        def build(made: Path) -> None:
            build_index(corpus, made, pictures=False)

        make_once(folder, build)
        return {"index": str(folder), "engine": "tantivy", "url": None, "ca_certs": None}

    @classmethod
    def write_sample_corpus(cls, folder: Path, seed: int, examples: Sequence[Example]) -> Path:
        """Write the corpus of `--sample` to `folder`, unless it exists; return its path."""
        return write_corpus(folder, examples)

    def check_there(self) -> None:
        if self.engine == "tantivy":
            self._identity()

    def check_computable(self) -> None:
        """Raises `PartError` for a server that cannot be asked: see `SearchServer`."""
        if self.engine != "tantivy":
            self._client()

    def fingerprint(self) -> str:
        """Everything that results depend on. Raises `DataError` if there is no finished index."""
        searched = [self.url, self.index, self.snapshot] if self.engine != "tantivy" else self._identity()
        settings = {"part": self.part, "engine": self.engine, "index": searched}
        return json.dumps({**settings, "top": self.top, "max_words": self.max_words}, sort_keys=True)

    def key(self, x: Example) -> str:
        """A hash of the sentence; "" if the sentence is empty."""
        return hashlib.sha256(x.text.encode("utf-8", "surrogatepass")).hexdigest() if x.text.strip() else ""

    def prepare(self, device: str) -> None:
        """Open the index (again, if it has changed), or connect to the server."""
        if self.engine != "tantivy":
            if self._searched is None:
                self._searched = self._client()
            return
        from mmkit_retrieval.text.text_index import TextIndex

        if not isinstance(self._searched, TextIndex) or self._searched.identity != identity(self._folder):
            self._searched = TextIndex.open(self._folder)

    def _client(self) -> SearchServer:
        assert self.url is not None and self.engine != "tantivy"
        return SearchServer(self.engine, self.url, self.index, timeout=self.timeout, ca_certs=self.ca_certs)

    def annotate(self, batch: Sequence[Example]) -> list[dict[str, Any]]:
        """For each example, the `context` and the hits (`found`)."""
        assert self._searched is not None, "prepare() comes first"
        hits = self._searched.search([x.text for x in batch], self.top + SPARE, self.threads)
        chosen = [choose(found, x, self.top) for x, found in zip(batch, hits, strict=True)]
        return [packed(found, join(found, self.max_words)) for found in chosen]

    def apply(self, x: Example, result: dict[str, Any]) -> Example:
        """`x` with the context as a note, and with its sources."""
        return with_context(x, self.note, self.part, *unpacked(result))

    def _identity(self) -> str:
        from mmkit_retrieval.indexing.index_folder import read_facts

        read_facts(Path(self.index))  # raises an error for an unfinished index
        return identity(self._folder)

    @property
    def _folder(self) -> Path:
        return Path(self.index) / "text"
