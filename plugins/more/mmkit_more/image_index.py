"""The pictures of a corpus, found by their likeness to another: an index folder's `images/`.

facts.json              what the folder holds and the checksums of its files; written last
nearest-<n>-<m>.faiss   see `nearest.py`
vectors-<n>.f16, pictures.db   see `vectors.py`
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.data.images import content_key, open_image
from mmkit.data.types import Image
from mmkit.errors import DataError, ImageError
from mmkit.files import explained, write_json
from mmkit_more import nearest
from mmkit_more.checksums import checksum
from mmkit_more.corpus import Article
from mmkit_more.image_facts import AGAIN, FACTS, check_files, read_facts
from mmkit_more.nearest import Nearest
from mmkit_more.retrieved import Retrieved
from mmkit_more.vectors import (
    DATABASE,
    FORMAT,
    Array,
    Model,
    State,
    VectorStore,
    check_vectors,
    damaged,
    database_errors,
    mapped,
    read_state,
)

if TYPE_CHECKING:
    from mmkit_more.clip_pictures import ClipPictures, Precision

FLAT_BELOW = 1_000_000
"""Pictures from which on they are searched through inverted lists."""

_ALL = """
SELECT article, number, content, path, caption, title, lead FROM pictures JOIN articles ON article = id
ORDER BY article, number
"""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A picture that still needs its vector."""

    article: str
    number: int
    content: str
    path: str
    caption: str


class ImageWriter:
    """Puts articles' pictures into a folder; a `Writer` of `index.py`. One process at a time.

    Pictures that are missing or broken are counted (`unreadable`) and listed in the index with their reasons, and
    are no error. Pictures of equal content are encoded once. Memory holds one batch of pictures and, while the
    faiss files are written, at most one of them and the sample that lists are learnt from.

    Args:
        folder: made if need be; what is in it is added to.
        clip: a CLIP model of the Hub, or a folder that holds one; the one that the index was begun with.
        revision: the model's revision on the Hub.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        batch_size: pictures that are encoded together.
        precision: of the network; "auto" is float16 on a GPU and float32 elsewhere.
        flat_below: pictures from which on `finish` writes inverted lists; below, search is exact.
        lists: how many of those, by default the square root of the number of pictures.
        threads: how many pictures are decoded side by side.

    Raises `DataError` for a folder that is damaged, in use, not writable, or made with another CLIP model, and
    `PartError` if the model cannot be had.
    """

    def __init__(
        self,
        folder: Path,
        clip: str,
        revision: str | None = None,
        device: str = "auto",
        *,
        batch_size: int = 64,
        precision: Precision = "auto",
        flat_below: int = FLAT_BELOW,
        lists: int | None = None,
        threads: int = 8,
    ) -> None:
        self.folder, self.clip, self.revision, self.device = folder, clip, revision, device
        self.batch_size, self.precision, self.flat_below, self.lists = (
            batch_size,
            precision,
            flat_below,
            lists,
        )
        self._waiting: list[_Waiting] = []
        self._encoder: ClipPictures | None = None
        self._store = VectorStore(folder)
        self._threads = ThreadPoolExecutor(threads)
        begun_with = self._store.model
        if begun_with and (begun_with.clip, begun_with.revision) != (clip, revision):
            try:
                self._load()  # the same model may lie elsewhere now
            except BaseException:
                self.close()
                raise

    def put(self, articles: Sequence[Article]) -> None:
        """Add the pictures of articles, in place of what there is of the same ids."""
        for article in articles:
            pictures = [self._looked_at(article, number) for number in range(len(article.images))]
            vectors = [self._store.vector_of(p.content) if p else None for p, _ in pictures]
            self.remove([article.id])
            if not pictures:
                continue
            lead = next((text for text in article.paragraphs if text.strip()), "")
            self._store.add_article(article.id, article.title, lead)
            for (picture, reason), vector, image in zip(pictures, vectors, article.images, strict=True):
                if picture is None:
                    self._store.add_unreadable(article.id, image.path, reason)
                elif vector is not None:
                    self._add([picture], vector[None])
                else:
                    self._waiting.append(picture)
            while len(self._waiting) >= self.batch_size:
                self._encode(self.batch_size)

    def _looked_at(self, article: Article, number: int) -> tuple[_Waiting | None, str]:
        """A picture with its content's hash, or None and why it has none. Decodes nothing."""
        image = article.images[number]
        try:
            content = content_key(Image(image.path))
        except ImageError as error:
            return None, error.what
        return _Waiting(article.id, number, content, image.path, image.caption), ""

    def _encode(self, count: int) -> None:
        """Give the first waiting pictures their vectors."""
        waiting, self._waiting = self._waiting[:count], self._waiting[count:]
        clip = self._load()

        def pixels(picture: _Waiting) -> Any:
            try:
                return clip.pixels(open_image(Image(picture.path)))
            except ImageError as error:
                return error

        read = list(zip(waiting, self._threads.map(pixels, waiting), strict=True))
        for picture, error in read:
            if isinstance(error, ImageError):
                self._store.add_unreadable(picture.article, picture.path, error.what)
        whole = [(picture, stack) for picture, stack in read if not isinstance(stack, ImageError)]
        self._add([picture for picture, _ in whole], clip.vectors([stack for _, stack in whole]))

    def _add(self, pictures: Sequence[_Waiting], vectors: Array) -> None:
        fields = [(p.article, p.number, p.content, p.path, p.caption) for p in pictures]
        if fields:
            self._store.add(fields, vectors)

    def _load(self) -> ClipPictures:
        """The CLIP model, which the index has to have been begun with."""
        if self._encoder is None:
            from mmkit.training.devices import pick_device
            from mmkit_more.clip_pictures import ClipPictures, same_model

            clip = ClipPictures(self.clip, self.revision, str(pick_device(self.device)), self.precision)
            probe, begun_with = clip.probe().tolist(), self._store.model
            if begun_with is not None and not same_model(probe, begun_with.probe):
                raise DataError(
                    f"the picture index was made with {begun_with.clip}, which is not the model {self.clip}",
                    where=self.folder,
                    hint="name that model, or build into a new folder",
                )
            self._store.model = begun_with or Model(self.clip, self.revision, tuple(probe))
            self._encoder = clip
        return self._encoder

    def remove(self, ids: Sequence[str]) -> None:
        """Take the pictures of articles out."""
        gone = set(ids)
        self._waiting = [picture for picture in self._waiting if picture.article not in gone]
        self._store.remove(ids)

    def commit(self) -> None:
        """Make everything put and removed so far durable."""
        while self._waiting:
            self._encode(self.batch_size)
        self._store.commit()

    def finish(self) -> None:
        """Commit, drop what was removed, and write the faiss index and the facts, unless they are up to date."""
        self.commit()
        self._store.compact()
        state, count = self._store.state, self._store.state.rows
        kind: nearest.Kind = "flat" if count < max(self.flat_below, nearest.LEAST) else "ivfpq"
        settings = nearest.settings(kind, count, self.lists)
        if self._is_finished(state, settings):
            return
        vectors, checks = mapped(self.folder, state), {}
        if count:
            stem = f"nearest-{state.generation}"
            shape, rows = vectors.shape, lambda some: vectors[some].astype(np.float32)
            checks = nearest.build(self.folder, stem, kind, rows, shape, self.lists)
        facts = {
            "format": FORMAT,
            "pictures": count,
            "unreadable": self.unreadable,
            "model": asdict(state.model) if state.model else None,
            "kind": kind,
            "settings": settings,
            "generation": state.generation,
            "identity": self._identity(settings, state),
            "checks": {**checks, DATABASE: checksum(self.folder / DATABASE)},
        }
        write_json(self.folder / FACTS, facts)
        for path in self.folder.glob("nearest-*.faiss"):
            if path.name not in checks:
                path.unlink()

    def _is_finished(self, state: State, settings: str) -> bool:
        """Whether the faiss index and the facts are those of the last commit, and undamaged."""
        try:
            facts = read_facts(self.folder)
            check_files(self.folder, facts)
        except DataError:
            return False
        return bool(facts["generation"] == state.generation and facts["settings"] == settings)

    def _identity(self, settings: str, state: State) -> str:
        """A hash of the contents: what search answers with, in whichever order it was put."""
        model = state.model and [state.model.clip, state.model.revision]
        digest = hashlib.blake2b(json.dumps([FORMAT, settings, model]).encode(), digest_size=16)
        for row in self._store.rows(_ALL):
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        """Pictures that are committed."""
        return self._store.committed

    @property
    def unreadable(self) -> int:
        """Pictures that could not be read so far."""
        return self._store.unreadable()

    def close(self) -> None:
        """Let go of files without committing."""
        self._threads.shutdown(cancel_futures=True)
        self._store.close()


class ImageIndex:
    """The pictures that an `ImageWriter` finished, memory-mapped: memory hardly grows with them.

    `model` names the CLIP model that queries have to come from (None where there is no picture), `identity` changes
    with the contents, `facts` are those of the file, and `probes` inverted lists are searched for a query.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], database: sqlite3.Connection) -> None:
        self.folder, self.facts, self._database = folder, facts, database
        self.identity: str = facts["identity"]
        self.model = Model.of(facts["model"]) if facts["model"] else None
        self.probes, self.candidates = 32, 10
        self._state = read_state(database)
        self._vectors = mapped(folder, self._state)
        names = sorted((n for n in facts["checks"] if n != DATABASE), key=lambda n: int(n[:-6].split("-")[2]))
        self._nearest = Nearest([folder / name for name in names], facts["kind"]) if names else None

    @classmethod
    def open(cls, folder: Path) -> ImageIndex:
        """The index in `folder`, after a look at every byte of it.

        Raises `DataError` for one that is missing, unfinished, damaged, or of a newer format.
        """
        facts, path = read_facts(folder), folder / DATABASE
        with explained(folder, DataError), database_errors(path):
            database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
            state = read_state(database)
            if state.generation != facts["generation"]:
                raise DataError("the picture index is unfinished", where=folder, hint=AGAIN)
            check_vectors(folder, state)
            check_files(folder, facts)
            index = cls(folder, facts, database)
        if not len(index) == state.rows == (len(index._nearest) if index._nearest else 0):
            raise damaged(folder, "its files do not belong together")
        return index

    def __len__(self) -> int:
        """Pictures."""
        return int(self.facts["pictures"])

    def search(self, vectors: Array, top: int) -> list[list[Retrieved]]:
        """The `top` pictures nearest to each of `vectors [N, D]`, best first; the score is their cosine, in [-1, 1].

        Equal ones come in the order they were put. What inverted lists find, `candidates` times as many, is compared
        exactly, with the vectors as they are stored. Raises `DataError` for vectors of another width or not finite,
        and where the index has changed since it was opened.
        """
        queries = np.ascontiguousarray(vectors, np.float32)
        if self._nearest is None or not len(queries):
            return [[] for _ in queries]
        self._check_queries(queries)
        queries = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
        count = min(len(self), top * (1 if self._nearest.kind == "flat" else self.candidates))
        found = self._nearest.candidates(queries, count, self.probes)
        rows, scores = self._ranked(queries, found, top)
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
                f"the index holds vectors of width {width}, not {queries.shape[-1]}",
                where=self.folder,
                hint=f"make queries with {self.model.clip}" if self.model else "",
            )
        if not np.isfinite(queries).all():
            raise DataError("a query is not finite", where=self.folder)

    def _ranked(self, queries: Array, found: Array, top: int) -> tuple[Array, Array]:
        """The best `top` of the rows found for each query, with their exact cosines."""
        stored = self._vectors[np.maximum(found, 0)].astype(np.float32)
        scores = np.where(found >= 0, np.einsum("nd,ncd->nc", queries, stored), -np.inf)
        order = np.lexsort((found, -scores), axis=1)[:, :top]
        rows, scores = (np.take_along_axis(each, order, axis=1) for each in (found, scores))
        return rows, scores.clip(-1, 1)

    def _known(self, rows: Sequence[int]) -> dict[int, dict[str, str]]:
        """What the database says of rows."""
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
            generation = read_state(self._database).generation
        if generation != self._state.generation:
            raise DataError("the picture index has changed", where=self.folder, hint="open it again")
        return known

    def _rows(self, rows: Sequence[int]) -> Iterator[Any]:
        columns = "row, article, number, path, caption, title, lead"
        for start in range(0, len(rows), 500):  # well under SQLite's limit on parameters of a statement
            some = rows[start : start + 500]
            marks = ",".join("?" * len(some))
            statement = f"SELECT {columns} FROM pictures JOIN articles ON article = id WHERE row IN ({marks})"
            yield from self._database.execute(statement, some)

    def blocks(self, size: int) -> Iterator[tuple[list[dict[str, str]], Array]]:
        """All pictures in turn: what is known of each, and their vectors `[n, D]` in float32; n is at most `size`."""
        for first in range(0, len(self), size):
            rows = range(first, min(first + size, len(self)))
            known = self._known(rows)
            yield [known[row] for row in rows], self._vectors[rows.start : rows.stop].astype(np.float32)

    def unreadable(self) -> list[tuple[str, str, str]]:
        """Article id, path and reason of each picture that could not be read."""
        with database_errors(self.folder / DATABASE):
            return list(
                self._database.execute("SELECT article, path, reason FROM unreadable ORDER BY article, path")
            )

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()
