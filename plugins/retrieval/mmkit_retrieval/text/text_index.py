"""The text index of paragraphs, on disk (tantivy). Writing needs bounded memory; BM25 searches titles and texts.

Each document is a paragraph. Words are runs of letters and digits of at most 40 bytes, in lower case and without
accents. They are not stemmed, and no word is left out. This suits every language that puts spaces between words. The
score of a paragraph is a sum over the words of the query (a word that occurs twice counts twice). It adds up the BM25
of the word in the title and in the text, as Elasticsearch's `most_fields` query does:

    log(1 + (N - n + 0.5) / (n + 0.5)) · tf · (k1 + 1) / (tf + k1 · (1 - b + b · length / mean length))

with k1 = 1.2 and b = 0.75. N is the number of paragraphs, and n the number of those that have the word in that field.
Like Lucene, tantivy stores a length in one byte: exact up to 40 words, and rounded down by at most 6 % beyond that.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.errors import DataError, one_line
from mmkit.files import explained
from mmkit.files.temporary import remove_leftovers
from mmkit_retrieval.corpora.article import Article
from mmkit_retrieval.retrieved import Retrieved
from mmkit_retrieval.text.text_files import (
    REBUILD,
    check_files,
    check_format,
    commit_stamp,
    identity,
    is_index,
    is_written,
    let_others_read,
    remove_unfinished,
    write_format,
)

if TYPE_CHECKING:
    import tantivy

MEMORY_BYTES = 128 << 20
"""How many bytes a writer collects by default before it writes a segment."""

_LEAST, _MOST = 15_000_000, 4_000_000_000  # tantivy's bounds
_ANALYSER = "mmkit"
_LONGEST = 40
_LONGEST_ID = 1000


class TextWriter:
    """Writes a text index (a `Writer` of `indexing/index_writer.py`). Only one process may write at a time.

    Memory: `memory_bytes` for tantivy's heap (when it is full, a segment is written), a few bytes for each paragraph
    while segments are merged, and 100 MB for the interpreter and the articles of one `put`. With 256 MiB, a million
    paragraphs took 360 MB. Segments that are being merged are memory-mapped files. They count as resident memory, but
    the system takes this memory back when it is needed.

    Raises `DataError` if the folder is not an index of this version, if the index is damaged, if another process is
    writing to it, or if the disk is full or not writable.
    """

    def __init__(self, folder: Path, memory_bytes: int = MEMORY_BYTES) -> None:
        self.folder = folder
        self._memory = min(max(memory_bytes, _LEAST), _MOST)
        self._analyser = _analyser()
        self._index = self._opened()
        self._writer: tantivy.IndexWriter | None = self._begun()

    def put(self, articles: Sequence[Article]) -> None:
        """Add the paragraphs of `articles`. They replace the paragraphs of articles with the same ids.

        Empty paragraphs are not indexed, but they are counted: `12#3` is always the fourth paragraph of article 12.
        """
        import tantivy

        writer = self._writing()
        with _refused(self.folder):
            for article in articles:
                self._delete(writer, article.id)
                for number, text in enumerate(article.paragraphs):
                    if text.strip():
                        fields: dict[str, Any] = {"article": article.id, "number": number}
                        fields |= {"title": encodable(article.title), "text": encodable(text)}
                        writer.add_document(tantivy.Document(**fields))

    def remove(self, ids: Sequence[str]) -> None:
        """Remove the paragraphs of these articles, if there are any."""
        writer = self._writing()
        with _refused(self.folder):
            for id in ids:
                self._delete(writer, id)

    def commit(self) -> None:
        """Save all changes so far. A process that is killed loses only later changes."""
        with _refused(self.folder):
            self._writing().commit()

    def finish(self) -> None:
        """Commit, and wait until tantivy has merged its segments."""
        with _refused(self.folder):
            self._writing().commit()
            writer, self._writer = self._writing(), None
            writer.wait_merging_threads()
            let_others_read(self.folder)

    def close(self) -> None:
        """Close the index. Changes that are not committed are lost."""
        if self._writer is not None:
            with _refused(self.folder):
                self._writer.rollback()
            self._writer = None

    def __len__(self) -> int:
        """How many paragraphs are committed."""
        self._index.reload()
        return int(self._index.searcher().num_docs)

    def stamp(self) -> int:
        """A number that grows with every commit of changes, and only then."""
        return commit_stamp(self.folder)

    def _opened(self) -> tantivy.Index:
        if is_index(self.folder):
            check_format(self.folder)
            if is_written(self.folder):
                check_files(self.folder, contents=False)
        else:
            with explained(self.folder, DataError):
                self.folder.mkdir(parents=True, exist_ok=True)
                # a process may have been killed before it wrote the format
                remove_leftovers(self.folder.iterdir())
                if any(self.folder.iterdir()):
                    hint = "give another folder, or empty this one"
                    raise DataError(
                        "the folder contains files that are not a text index",
                        where=self.folder,
                        hint=hint,
                        code="retrieval.folder-taken",
                    )
                write_format(self.folder)
        return _tantivy(self.folder, self._analyser)

    def _begun(self) -> tantivy.IndexWriter:
        with _refused(self.folder):
            writer = self._index.writer(self._memory, 1)  # one thread, which keeps the order of paragraphs
            remove_unfinished(self.folder)
            writer.garbage_collect_files()  # of an interrupted commit: the next one makes files of the same names
            return writer

    def _writing(self) -> tantivy.IndexWriter:
        if self._writer is None:
            self._writer = self._begun()
        return self._writer

    def _delete(self, writer: tantivy.IndexWriter, id: str) -> None:
        if len(id.encode("utf-8", "replace")) > _LONGEST_ID or id != encodable(id):
            hint = f"ids have at most {_LONGEST_ID} bytes in UTF-8"
            raise DataError(
                f"an article's id cannot be used: {id[:50]!r}",
                where=self.folder,
                hint=hint,
                code="retrieval.article-id",
            )
        writer.delete_documents_by_term("article", id)


class TextIndex:
    """A text index to search, as it was when it was opened.

    Its files are memory-mapped, so an index may be larger than memory. `len(index)` is the number of paragraphs;
    `identity` changes with the contents.
    """

    def __init__(
        self, folder: Path, index: tantivy.Index, analyser: tantivy.TextAnalyzer, identity: str
    ) -> None:
        self.folder, self.identity = folder, identity
        self._schema, self._searcher, self._analyser = index.schema, index.searcher(), analyser

    @classmethod
    def open(cls, folder: Path, check: bool = True) -> TextIndex:
        """The index that a `TextWriter` wrote to `folder`.

        With `check`, the checksums of all files are compared, which takes about a second for each gigabyte. Without,
        it only checks that the files exist and are not truncated. Raises `DataError` if `folder` is missing, is not a
        text index of this version, or is damaged.
        """
        name = identity(folder)
        check_files(folder, contents=check)
        analyser = _analyser()
        return cls(folder, _tantivy(folder, analyser), analyser, name)

    def search(self, queries: Sequence[str], top: int, threads: int | None = None) -> list[list[Retrieved]]:
        """For each query, at most `top` paragraphs that share a word with it, best first.

        A query is plain text and has no operators. Queries run on `threads` threads (by default, one for each core);
        the result does not depend on their number. Paragraphs of equal score come in the order of the index.
        """
        if top < 1:
            raise ValueError(f"top must be positive, not {top}")
        threads = min(threads or os.cpu_count() or 1, len(queries))
        if threads <= 1:
            return [self._search(query, top) for query in queries]
        with ThreadPoolExecutor(threads) as pool:  # tantivy releases the interpreter lock while it searches
            return list(pool.map(lambda query: self._search(query, top), queries))

    def __len__(self) -> int:
        return int(self._searcher.num_docs)

    def _search(self, query: str, top: int) -> list[Retrieved]:
        limit = min(top, len(self))
        words = Counter(self._analyser.analyze(encodable(query)))
        if not words or not limit:
            return []
        with _unreadable(self.folder):
            hits = self._searcher.search(self._any_of(words), limit, count=False).hits
            return [self._retrieved(score, address) for score, address in hits]

    def _any_of(self, words: Counter[str]) -> tantivy.Query:
        """A query that adds up the words' scores in both fields."""
        from tantivy import Occur, Query

        clauses = []
        for word, times in words.items():
            for field in ("title", "text"):
                clause = Query.term_query(self._schema, field, word, "freq")
                clauses.append(
                    (Occur.Should, Query.boost_query(clause, float(times)) if times > 1 else clause)
                )
        return Query.boolean_query(clauses)

    def _retrieved(self, score: float, address: tantivy.DocAddress) -> Retrieved:
        stored: dict[str, list[Any]] = self._searcher.doc(address).to_dict()
        article, number, title, text = (stored[field][0] for field in ("article", "number", "title", "text"))
        return Retrieved(f"{article}#{number}", article, title, text, float(score))


def encodable(text: str) -> str:
    """`text` with question marks for lone surrogates, which JSON can contain and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _analyser() -> tantivy.TextAnalyzer:
    """Splits titles, paragraphs and queries into words."""
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    words = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(_LONGEST + 1))
    return words.filter(Filter.lowercase()).filter(Filter.ascii_fold()).build()


def _tantivy(folder: Path, analyser: tantivy.TextAnalyzer) -> tantivy.Index:
    """The index in `folder`, created if there is none. tantivy refuses one with other fields."""
    import tantivy

    with _unreadable(folder):
        index = tantivy.Index(_schema(), str(folder))
        index.register_tokenizer(_ANALYSER, analyser)
        return index


def _schema() -> tantivy.Schema:
    import tantivy

    fields = tantivy.SchemaBuilder()
    fields.add_text_field("article", stored=True, tokenizer_name="raw", index_option="basic")
    fields.add_unsigned_field("number", stored=True)
    for name in ("title", "text"):  # frequencies, but no positions: queries have no phrases
        fields.add_text_field(name, stored=True, tokenizer_name=_ANALYSER, index_option="freq")
    return fields.build()


@contextlib.contextmanager
def _unreadable(folder: Path) -> Iterator[None]:
    """Turn tantivy's error about an index that it cannot read into a `DataError`."""
    try:
        yield
    except (ValueError, OSError) as error:
        what = f"the text index cannot be read: {one_line(error)}"
        raise DataError(
            what,
            where=folder,
            hint=f"if it was written by another version, {REBUILD}",
            code="retrieval.index-unreadable",
        ) from error


@contextlib.contextmanager
def _refused(folder: Path) -> Iterator[None]:
    """Turn tantivy's error about an index that it cannot write into a `DataError`."""
    try:
        yield
    except (ValueError, OSError) as error:
        if "LockBusy" in str(error):
            code, hint = "retrieval.locked", "wait until it has ended"
            what = "another process is writing to this text index"
        else:
            code, what = "retrieval.index-unwritable", f"the text index cannot be written: {one_line(error)}"
            hint = "check that the disk has room, and run the same command again: it continues from the last commit"
        raise DataError(what, where=folder, hint=hint, code=code) from error
