"""Encodes the images of a corpus with CLIP, and writes them to the folder `images/` of an index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkit.data.images import content_key, open_image
from mmkit.data.types import Image
from mmkit.errors import DataError, ImageError
from mmkit.files import sync_folder, write_json
from mmkit_retrieval.checksums import checksum
from mmkit_retrieval.corpora.article import Article
from mmkit_retrieval.pictures import nearest
from mmkit_retrieval.pictures.image_facts import FACTS, check_files, read_facts
from mmkit_retrieval.pictures.vectors import DATABASE, FORMAT, Array, Model, State, VectorStore, mapped

if TYPE_CHECKING:
    from mmkit_retrieval.pictures.clip_images import ClipImages, Precision

FLAT_BELOW = 1_000_000
"""An index with at least this many images is searched through inverted lists; a smaller one is searched exactly."""

_ALL = """
SELECT article, number, content, path, caption, title, lead FROM pictures JOIN articles ON article = id
ORDER BY article, number
"""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An image that still needs its vector."""

    article: str
    number: int
    content: str
    path: str
    caption: str


class ImageWriter:
    """Writes an image index (a `Writer` of `indexing/index_writer.py`). Only one process may write at a time.

    Missing and broken images are not an error. They are counted (`unreadable`) and listed in the index with the
    reasons. An image is encoded once, even if several articles have it. Memory holds one batch of images. While the
    faiss files are written, it holds at most one of them, and the sample on which inverted lists are trained.

    Args:
        folder: created if it does not exist. An index in it is continued.
        clip: a CLIP model on the Hub, or a folder that contains one. It must be the model with which the index was
            started.
        revision: the model's revision on the Hub.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        batch_size: how many images are encoded together.
        precision: of the network; "auto" is float16 on a GPU and float32 elsewhere.
        flat_below: with at least so many images, `finish` writes inverted lists. With fewer, the search is exact.
        lists: how many inverted lists; by default the square root of the number of images.
        threads: how many images are decoded at the same time.

    Raises `DataError` if the folder is damaged, in use, not writable, or was written with another CLIP model, and
    `PartError` if the model cannot be loaded.
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
        self._encoder: ClipImages | None = None
        self._store = VectorStore(folder)
        self._threads = ThreadPoolExecutor(threads)
        begun_with = self._store.model
        if begun_with and (begun_with.clip, begun_with.revision) != (clip, revision):
            try:
                self._load()  # compares the weights: the same model may be in another folder now
            except BaseException:
                self.close()
                raise

    def put(self, articles: Sequence[Article]) -> None:
        """Add the images of articles. They replace the images of articles with the same ids."""
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
        """An image with the hash of its content, or None and the reason. The image is not decoded."""
        image = article.images[number]
        try:
            content = content_key(Image(image.path))
        except ImageError as error:
            return None, error.what
        return _Waiting(article.id, number, content, image.path, image.caption), ""

    def _encode(self, count: int) -> None:
        """Compute the vectors of the first `count` waiting images, and add them to the index."""
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

    def _load(self) -> ClipImages:
        """The CLIP model. Raises `DataError` if the index was started with another."""
        if self._encoder is None:
            from mmkit.inference.devices import pick_device
            from mmkit_retrieval.pictures.clip_images import ClipImages, same_model

            clip = ClipImages(self.clip, self.revision, str(pick_device(self.device)), self.precision)
            probe, begun_with = clip.probe().tolist(), self._store.model
            if begun_with is not None and not same_model(probe, begun_with.probe):
                raise DataError(
                    f"the image index was built with {begun_with.clip}, and {self.clip} is another model",
                    where=self.folder,
                    hint=f"give {begun_with.clip} as the CLIP model, or build into a new folder",
                    code="retrieval.other-clip",
                )
            self._store.model = begun_with or Model(self.clip, self.revision, tuple(probe))
            self._encoder = clip
        return self._encoder

    def remove(self, ids: Sequence[str]) -> None:
        """Remove the images of articles."""
        gone = set(ids)
        self._waiting = [picture for picture in self._waiting if picture.article not in gone]
        self._store.remove(ids)

    def commit(self) -> None:
        """Save all changes so far."""
        while self._waiting:
            self._encode(self.batch_size)
        self._store.commit()

    def finish(self) -> None:
        """Commit, delete the vectors of removed images, and write faiss index and facts unless they are up to date."""
        self.commit()
        self._store.compact()
        state, count = self._store.state, self._store.state.rows
        kind: nearest.Kind = "flat" if count < max(self.flat_below, nearest.LEAST) else "ivfpq"
        settings = nearest.settings(kind, count, self.lists)
        if not self._is_finished(state, settings):
            self._write(state, kind, settings)
        needed = read_facts(self.folder)["checks"]
        for path in self.folder.glob("nearest-*.faiss"):
            if path.name not in needed:
                path.unlink()

    def _write(self, state: State, kind: nearest.Kind, settings: str) -> None:
        """Write the faiss files and then, once they are safely on disk, the facts."""
        (self.folder / FACTS).unlink(missing_ok=True)  # they describe files that are about to be replaced
        vectors, checks = mapped(self.folder, state), {}
        if len(vectors):

            def rows(some: Array) -> Array:
                return vectors[some].astype(np.float32)

            stem = f"nearest-{state.generation}"
            checks = nearest.build(self.folder, stem, kind, rows, vectors.shape, self.lists)
        facts = {
            "format": FORMAT,
            "pictures": len(vectors),
            "unreadable": self.unreadable,
            "model": asdict(state.model) if state.model else None,
            "kind": kind,
            "settings": settings,
            "generation": state.generation,
            "identity": self._identity(settings, state),
            "checks": {**checks, DATABASE: checksum(self.folder / DATABASE)},
        }
        sync_folder(self.folder)
        write_json(self.folder / FACTS, facts)

    def _is_finished(self, state: State, settings: str) -> bool:
        """Whether faiss index and facts belong to the last commit and are not damaged."""
        try:
            facts = read_facts(self.folder)
            check_files(self.folder, facts)
        except DataError:
            return False
        return bool(facts["generation"] == state.generation and facts["settings"] == settings)

    def _identity(self, settings: str, state: State) -> str:
        """A hash of the contents. It does not depend on the order in which articles were added."""
        model = state.model and [state.model.clip, state.model.revision]
        digest = hashlib.blake2b(json.dumps([FORMAT, settings, model]).encode(), digest_size=16)
        for row in self._store.rows(_ALL):
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        """How many images are committed."""
        return self._store.committed

    @property
    def unreadable(self) -> int:
        """How many images could not be read so far."""
        return self._store.unreadable()

    def close(self) -> None:
        """Close the files without committing."""
        self._threads.shutdown(cancel_futures=True)
        self._store.close()
