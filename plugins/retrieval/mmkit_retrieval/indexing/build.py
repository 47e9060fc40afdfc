"""Building an index folder from a corpus. A build can be killed at any point; the same command then continues it.

An article is added to the indexes unless `articles.db` lists it with the same digest. Each step commits in this order:

1. `articles.db`: these articles are being committed;
2. the text index;
3. the image index;
4. `articles.db`: these articles are in the indexes.

If a build is killed in between, the next one adds these articles again. Adding an article twice has the same effect as
adding it once. There is one exception: tantivy still counts a deleted paragraph in its word statistics until the
segment is merged. So an article that the text index has already committed is not added to it again; the stamp of the
text index tells whether its commit was made. In this way an interrupted build gives the same index as an uninterrupted
one.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.errors import DataError, Interrupted, MMKitError
from mmkit.files import explained
from mmkit.training.stopping import StopSignal
from mmkit_retrieval.corpora.article import Article
from mmkit_retrieval.corpora.corpus import Corpus
from mmkit_retrieval.corpora.formats import open_corpus
from mmkit_retrieval.indexing.index_folder import (
    AGAIN,
    IMAGES,
    LEDGER,
    TEXT,
    alone,
    check_folder,
    settle,
    write_facts,
)
from mmkit_retrieval.indexing.index_writer import Writer
from mmkit_retrieval.indexing.ledger import Ledger, State

if TYPE_CHECKING:
    from mmkit_retrieval.pictures.image_writer import ImageWriter
    from mmkit_retrieval.text.text_index import TextWriter

CLIP = "openai/clip-vit-base-patch32"
MEMORY = 256 << 20
"""Bytes that the text index may hold in memory before it writes them."""

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""

_CHUNK, _CHARACTERS = 256, 2_000_000
"""The most articles, and the most characters, that are processed together."""
_REMOVED = 4096
"""The most articles that are removed together."""
_COMMIT, _SECONDS = 50_000, 120
"""The most articles, and the most seconds, between two commits."""
_STAMP = "text stamp"


@dataclass(frozen=True)
class Summary:
    """What a build did, and what the index contains now.

    Each article of the corpus was `added`, `changed` or `unchanged`. Articles that the corpus no longer has were
    `removed` from the index, or `left` in it. `paragraphs` and `pictures` are None if they are not indexed.
    `unreadable` is the number of images that could not be read.
    """

    articles: int
    added: int
    changed: int
    unchanged: int
    removed: int
    left: int
    paragraphs: int | None
    pictures: int | None
    unreadable: int
    repairs: Mapping[str, int]
    seconds: float


def build_index(
    corpus: Path,
    out: Path,
    *,
    format: str = "auto",
    images: Path | None = None,
    text: bool = True,
    pictures: bool = True,
    clip: str = CLIP,
    revision: str | None = None,
    memory_bytes: int = MEMORY,
    device: str = "auto",
    prune: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Index a corpus in the folder `out`. The folder is created, or the index in it is continued or updated.

    Args:
        corpus: a JSON-lines file or a MediaWiki export.
        out: a folder that is new or empty, or contains an index with the same settings.
        format: "jsonl", "wikipedia", or "auto" (detected from the file).
        images: the folder of images (default: the folder of the corpus).
        text: whether to index paragraphs.
        pictures: whether to index images.
        clip: the CLIP model that encodes the images: a name on the Hub or a folder.
        revision: the revision of that model on the Hub.
        memory_bytes: how much the text index may hold in memory before it writes.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps", for CLIP.
        prune: remove articles that the corpus no longer has.
        progress: called with (what, done, total), for example ("corpus.jsonl (kB)", 200, 1500).

    Raises `DataError` if the corpus cannot be read, if the folder contains something else, if another build is running
    in it, or if the disk is full or not writable; `Interrupted` on Ctrl-C and SIGTERM. After each of them the same
    command continues the build.
    """
    if not (text or pictures):
        raise MMKitError(
            "nothing to index: both text and images are turned off",
            hint="remove --no-text or --no-images",
            code="retrieval.nothing-to-index",
        )
    started = time.monotonic()
    settings: dict[str, Any] = {"text": text, "images": pictures}
    settings |= {"clip": clip, "revision": revision} if pictures else {"clip": None, "revision": None}
    source = open_corpus(corpus, format, images, pictures)
    check_folder(out)
    with _explained(out), alone(out), ExitStack() as stack:
        ledger = stack.enter_context(closing(Ledger(out / LEDGER)))
        settle(ledger, settings, out)
        words, looks = None, None
        if text:
            from mmkit_retrieval.text.text_index import TextWriter

            words = stack.enter_context(closing(TextWriter(out / TEXT, memory_bytes)))
        if pictures:
            from mmkit_retrieval.pictures.image_writer import ImageWriter

            looks = stack.enter_context(closing(ImageWriter(out / IMAGES, clip, revision, device)))
        build = Build(ledger, words, looks, progress or (lambda what, done, total: None))
        build.run(source, prune)
        summary = build.summary(source.repairs, time.monotonic() - started)
        write_facts(out, _facts(source, settings, summary))
    return summary


class Build:
    """One pass over a corpus, which updates an index folder."""

    def __init__(
        self, ledger: Ledger, text: TextWriter | None, images: ImageWriter | None, progress: Progress
    ) -> None:
        self.ledger, self._text, self._images, self.progress = ledger, text, images, progress
        self.writers: dict[str, Writer] = {}
        if text is not None:
            self.writers[TEXT] = text
        if images is not None:
            self.writers[IMAGES] = images
        self.read = self.changed = self.unchanged = self.removed = self.repeated = 0
        self._open: dict[str, str] = {}
        """Articles added since the last commit: id → digest."""
        self._committed = time.monotonic()

    def run(self, source: Corpus, prune: bool) -> None:
        """Add new articles, remove old ones, and finish the indexes. Raises `Interrupted` on Ctrl-C and SIGTERM."""
        with StopSignal() as stop:
            try:
                self._resolve()
                with stop.deferred(), closing(_chunks(source)) as chunks:
                    for chunk in chunks:
                        self._put(chunk)
                        self._report(source)
                        if stop.received:
                            break
                    self._commit()
                self._report(source, ended=True)
                self._take_out(prune)
                for name, writer in self.writers.items():
                    self.progress(f"finishing {name}", 0, 1)
                    writer.finish()
                    self.progress(f"finishing {name}", 1, 1)
            except (KeyboardInterrupt, MMKitError) as error:
                if isinstance(error, MMKitError) and not stop.received:
                    raise
                # the signal may have ended the processes that parse, too; this is not an error of its own
                stopped = Interrupted(
                    f"stopped by {stop.name} after {self.read:,} articles",
                    hint=AGAIN,
                    code="retrieval.build-interrupted",
                )
                stopped.exit_code = stop.exit_code
                raise stopped from None
        if not len(self.ledger):
            raise DataError(
                "the corpus contains no articles", where=source.path, code="retrieval.empty-corpus"
            )

    def _resolve(self) -> None:
        """Find out whether the text index made the commit at which the last build was killed, and note it."""
        text = self._text
        made = text is not None and text.stamp() != self.ledger.fact(_STAMP)
        self.ledger.resolve(State.IN_TEXT if made else State.IN_DOUBT)
        self.ledger.commit()

    def _put(self, chunk: list[Article]) -> None:
        """Add the articles of a chunk that are new or changed."""
        known = self.ledger.known([article.id for article in chunk])
        digests: dict[str, str] = {}
        same: list[Article] = []
        in_text: list[Article] = []
        new: list[Article] = []
        for article in chunk:
            entry, id = known.get(article.id), article.id
            if id in digests or (entry and entry.seen):
                self.repeated += 1
                continue
            digests[id] = article.digest()
            state = entry.state if entry and entry.digest == digests[id] else State.IN_DOUBT
            {State.HELD: same, State.IN_TEXT: in_text}.get(state, new).append(article)
            self.changed += state is State.IN_DOUBT and entry is not None and entry.state is State.HELD
        self.read += len(digests)
        self.unchanged += len(same)
        for articles, state in ((same, State.HELD), (in_text, State.IN_TEXT), (new, State.COMMITTING)):
            self.ledger.put({article.id: digests[article.id] for article in articles}, state)
        self._open.update((article.id, digests[article.id]) for article in (*in_text, *new))
        for writer in self.writers.values():
            writer.put(new if writer is self._text else [*in_text, *new])
        if len(self._open) >= _COMMIT or time.monotonic() - self._committed > _SECONDS:
            self._commit()

    def _commit(self) -> None:
        if self._text is not None:
            self.ledger.note(_STAMP, self._text.stamp())
        self.ledger.commit()
        if self._open:
            for writer in self.writers.values():
                writer.commit()
            self.ledger.put(self._open)
            self.ledger.commit()
            self._open.clear()
        self._committed = time.monotonic()

    def _take_out(self, prune: bool) -> None:
        """Remove articles that are not in the corpus. Without `prune`, only those that a killed build left in doubt."""
        for gone in self.ledger.unseen(_REMOVED, held=prune):
            self.ledger.doubt(gone)
            self.ledger.commit()
            for writer in self.writers.values():
                writer.remove(gone)
                writer.commit()
            self.ledger.remove(gone)
            self.ledger.commit()
            self.removed += len(gone)

    def _report(self, source: Corpus, ended: bool = False) -> None:
        total = max(1, source.size // 1000)
        done = total if ended else min(source.position // 1000, total - 1)
        self.progress(f"{source.path.name} (kB)", done, total)

    def summary(self, repairs: Mapping[str, int], seconds: float) -> Summary:
        """What this pass did. `repairs` are those of the corpus."""
        repeated = {"article with a repeated id skipped": self.repeated} if self.repeated else {}
        return Summary(
            articles=len(self.ledger),
            added=self.read - self.changed - self.unchanged,
            changed=self.changed,
            unchanged=self.unchanged,
            removed=self.removed,
            left=self.ledger.count_unseen(),
            paragraphs=None if self._text is None else len(self._text),
            pictures=None if self._images is None else len(self._images),
            unreadable=0 if self._images is None else self._images.unreadable,
            repairs={**repairs, **repeated},
            seconds=seconds,
        )


def _chunks(source: Iterable[Article]) -> Generator[list[Article]]:
    chunk: list[Article] = []
    length = 0
    for article in source:
        chunk.append(article)
        length += sum(map(len, article.paragraphs))
        if len(chunk) >= _CHUNK or length >= _CHARACTERS:
            yield chunk
            chunk, length = [], 0
    if chunk:
        yield chunk


def _facts(source: Corpus, settings: Mapping[str, Any], summary: Summary) -> dict[str, Any]:
    counts = {name: getattr(summary, name) for name in ("articles", "paragraphs", "pictures", "unreadable")}
    return {
        "corpus": source.path.name,
        "settings": settings,
        "counts": counts,
        "repairs": dict(summary.repairs),
    }


@contextlib.contextmanager
def _explained(out: Path) -> Iterator[None]:
    """Turn errors of the disk into a `DataError`. For a full disk, the hint says how to continue."""
    with explained(out, DataError):
        try:
            yield
        except Exception as error:
            if not _is_full(error):
                raise
            hint = f"free some space and {AGAIN}"
            raise DataError("the disk is full", where=out, hint=hint, code="file.unwritable") from error


def _is_full(error: BaseException | None) -> bool:
    """Whether the cause of an error is a full disk. Libraries in other languages report it in the text only."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
