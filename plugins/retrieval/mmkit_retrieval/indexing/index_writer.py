"""What a searchable index promises to who writes it and to who searches it.

An index folder that `mmkit retrieval build-index CORPUS OUT` writes:

    index.json      format, corpus, settings, counts; written last, and again after every addition
    articles.db     article id → digest: what is in the indexes already
    text/           paragraphs, in tantivy (absent with --no-text)
    images/         images, in faiss (absent with --no-images)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mmkit_retrieval.corpora.article import Article


class Writer(Protocol):
    """Writes one of an index folder's parts; one process at a time."""

    def put(self, articles: Sequence[Article]) -> None:
        """Add articles, in place of what there is of the same ids: putting twice is putting once."""

    def remove(self, ids: Sequence[str]) -> None:
        """Take articles out; ids that are not there do not matter."""

    def commit(self) -> None:
        """Make everything put and removed so far durable; a killed process loses only what came after."""

    def finish(self) -> None:
        """Commit, and do what is done once at the end (train a quantiser, merge segments)."""

    def close(self) -> None:
        """Let go of files without committing."""

    def __len__(self) -> int:
        """Paragraphs, or images, that are committed."""
