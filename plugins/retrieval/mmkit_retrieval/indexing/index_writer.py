"""The contract of a part of an index that a build writes.

`mmkit retrieval build-index CORPUS OUT` writes this folder:

    index.json      format, corpus, settings, counts; written last, by each build
    articles.db     article id → digest: which articles are in the indexes
    text/           paragraphs, in tantivy (absent with --no-text)
    images/         images, in faiss (absent with --no-images)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mmkit_retrieval.corpora.article import Article


class Writer(Protocol):
    """Writes one part of an index folder. Only one process may write at a time."""

    def put(self, articles: Sequence[Article]) -> None:
        """Add articles. They replace articles with the same ids, so adding twice has the effect of adding once."""

    def remove(self, ids: Sequence[str]) -> None:
        """Remove articles. Unknown ids are ignored."""

    def commit(self) -> None:
        """Save all changes so far. A process that is killed loses only later changes."""

    def finish(self) -> None:
        """Commit, and do what is done once at the end (train a quantizer, merge segments)."""

    def close(self) -> None:
        """Close the files without committing."""

    def __len__(self) -> int:
        """How many paragraphs or images are committed."""
