"""The image index: the images of a corpus, searched by their similarity to another image.

Files in the folder `images/` of an index:

facts.json              what the folder contains, with the checksums of its files; written last
nearest-<n>-<m>.faiss   see `nearest.py`
vectors-<n>.f16, pictures.db   see `vectors.py`
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from mmkit.errors import DataError
from mmkit.files import explained
from mmkit_retrieval.pictures.image_facts import AGAIN, check_files, read_facts
from mmkit_retrieval.pictures.image_writer import ImageWriter
from mmkit_retrieval.pictures.nearest import Nearest
from mmkit_retrieval.pictures.vectors import (
    DATABASE,
    Array,
    Model,
    check_vectors,
    damaged,
    database_errors,
    is_index,
    mapped,
    read_state,
)
from mmkit_retrieval.retrieved import Retrieved

QUERIES = 64
"""How many queries are ranked at once."""

__all__ = ["ImageIndex", "ImageWriter"]


class ImageIndex:
    """A finished image index to search. It is memory-mapped, so memory hardly grows with the number of images.

    `model` is the CLIP model from which the vectors of queries must come (None if there are no images). `identity`
    changes with the contents. `facts` are those of `facts.json`. For each query, `probes` inverted lists are searched.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], database: sqlite3.Connection) -> None:
        self.folder, self.facts, self._database = folder, facts, database
        self.identity: str = facts["identity"]
        self.model = Model.of(facts["model"]) if facts["model"] else None
        self.probes, self.candidates = 32, 10
        self._state = read_state(database, folder / DATABASE)
        self._vectors = mapped(folder, self._state)
        names = sorted((n for n in facts["checks"] if n != DATABASE), key=lambda n: int(n[:-6].split("-")[2]))
        self._nearest = Nearest([folder / name for name in names], facts["kind"]) if names else None

    @classmethod
    def open(cls, folder: Path) -> ImageIndex:
        """The index in `folder`, after all its files were read and their checksums compared.

        Raises `DataError` if it is missing, unfinished, damaged, or of another version.
        """
        facts, path = read_facts(folder), folder / DATABASE
        if not is_index(folder):
            raise damaged(path, "the file is missing")
        with explained(folder, DataError), database_errors(path), ExitStack() as on_error:
            database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
            on_error.callback(database.close)
            state = read_state(database, path)
            if state.generation != facts["generation"]:
                raise DataError(
                    "the image index is unfinished",
                    where=folder,
                    hint=AGAIN,
                    code="retrieval.index-unfinished",
                )
            check_vectors(folder, state)
            check_files(folder, facts)
            index = cls(folder, facts, database)
            if not len(index) == state.rows == (len(index._nearest) if index._nearest else 0):
                raise damaged(folder, "its files do not belong together")
            on_error.pop_all()
        return index

    def __len__(self) -> int:
        """How many images there are."""
        return int(self.facts["pictures"])

    def search(self, vectors: Array, top: int) -> list[list[Retrieved]]:
        """The `top` images nearest to each of `vectors [N, D]`, best first; the score is their cosine, in [-1, 1].

        Images of equal score come in the order in which they were added. The inverted lists give `candidates` times as
        many images; their exact cosines are then computed from the stored vectors. Raises `DataError` if vectors have
        another width or are not finite, and if the index has changed since it was opened.
        """
        queries = np.ascontiguousarray(vectors, np.float32)
        if self._nearest is None or not len(queries):
            return [[] for _ in queries]
        self._check_queries(queries)
        queries = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
        return [
            hits
            for first in range(0, len(queries), QUERIES)
            for hits in self._search(self._nearest, queries[first : first + QUERIES], top)
        ]

    def _search(self, index: Nearest, queries: Array, top: int) -> list[list[Retrieved]]:
        count = min(len(self), top * (1 if index.kind == "flat" else self.candidates))
        rows, scores = self._ranked(queries, index.candidates(queries, count, self.probes), top)
        known = self._known(sorted({int(row) for row in rows.ravel() if row >= 0}))
        return [
            [
                Retrieved(score=float(score), **known[int(row)])
                for row, score in zip(*each, strict=True)
                if row >= 0
            ]
            for each in zip(rows, scores, strict=True)
        ]

    def _check_queries(self, queries: Array) -> None:
        width = self._vectors.shape[1]
        if queries.ndim != 2 or queries.shape[1] != width:
            raise DataError(
                f"the vectors of the index have width {width}, but that of a query has {queries.shape[-1]}",
                where=self.folder,
                hint=f"encode queries with {self.model.clip}" if self.model else "",
                code="retrieval.query-width",
            )
        if not np.isfinite(queries).all():
            raise DataError(
                "the vector of a query is not finite", where=self.folder, code="retrieval.query-not-finite"
            )

    def _ranked(self, queries: Array, found: Array, top: int) -> tuple[Array, Array]:
        """The best `top` of the rows found for each query, with their exact cosines."""
        stored = self._vectors[np.maximum(found, 0)].astype(np.float32)
        scores = np.where(found >= 0, np.einsum("nd,ncd->nc", queries, stored), -np.inf)
        order = np.lexsort((found, -scores), axis=1)[:, :top]
        rows, scores = (np.take_along_axis(each, order, axis=1) for each in (found, scores))
        return rows, scores.clip(-1, 1)

    def _known(self, rows: Sequence[int]) -> dict[int, dict[str, str]]:
        """What the database knows about these rows."""
        known = {}
        with database_errors(self.folder / DATABASE):
            for row, article, number, path, caption, title, lead in self._rows(rows):
                known[row] = {
                    "id": f"{article}#{number}",
                    "article": article,
                    "title": title,
                    "text": lead,
                    "caption": caption,
                    "image": path,
                }
            generation = read_state(self._database, self.folder / DATABASE).generation
        if generation != self._state.generation:
            raise DataError(
                "the image index has changed",
                where=self.folder,
                hint="open it again",
                code="retrieval.index-changed",
            )
        return known

    def _rows(self, rows: Sequence[int]) -> Iterator[Any]:
        columns = "row, article, number, path, caption, title, lead"
        for start in range(0, len(rows), 500):  # SQLite limits the parameters of a statement
            some = rows[start : start + 500]
            marks = ",".join("?" * len(some))
            statement = f"SELECT {columns} FROM pictures JOIN articles ON article = id WHERE row IN ({marks})"
            yield from self._database.execute(statement, some)

    def blocks(self, size: int) -> Iterator[tuple[list[dict[str, str]], Array]]:
        """All images in blocks of at most `size`: what is known about each, and their vectors `[n, D]` in float32."""
        for first in range(0, len(self), size):
            rows = range(first, min(first + size, len(self)))
            known = self._known(rows)
            yield [known[row] for row in rows], self._vectors[rows.start : rows.stop].astype(np.float32)

    def unreadable(self) -> list[tuple[str, str, str]]:
        """Article id, path and reason of each image that could not be read."""
        with database_errors(self.folder / DATABASE):
            return list(
                self._database.execute("SELECT article, path, reason FROM unreadable ORDER BY article, path")
            )

    def close(self) -> None:
        """Close the database."""
        self._database.close()
