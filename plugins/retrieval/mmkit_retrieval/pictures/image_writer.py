"""Putting the images of a corpus into an index folder's `images/`, through CLIP."""

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
"""Pictures from which on they are searched through inverted lists."""

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
    """Puts articles' images into a folder; a `Writer` of `indexing/index_writer.py`. One process at a time.

    Images that are missing or broken are counted (`unreadable`) and listed in the index with their reasons, and
    are no error. An image whose content is in the index already is not encoded again. Memory holds one batch of
    images and, while the faiss files are written, at most one of them and the sample that lists are learnt from.

    Args:
        folder: made if need be; what is in it is added to.
        clip: a CLIP model of the Hub, or a folder that holds one; the one that the index was begun with.
        revision: the model's revision on the Hub.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        batch_size: images that are encoded together.
        precision: of the network; "auto" is float16 on a GPU and float32 elsewhere.
        flat_below: images from which on `finish` writes inverted lists; below, search is exact.
        lists: how many of those, by default the square root of the number of images.
        threads: how many images are decoded side by side.

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
        self._encoder: ClipImages | None = None
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
        """Add the images of articles, in place of what there is of the same ids."""
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
        """An image with its content's hash, or None and why it has none. Decodes nothing."""
        image = article.images[number]
        try:
            content = content_key(Image(image.path))
        except ImageError as error:
            return None, error.what
        return _Waiting(article.id, number, content, image.path, image.caption), ""

    def _encode(self, count: int) -> None:
        """Give the first waiting images their vectors."""
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
        """The CLIP model, which the index has to have been begun with."""
        if self._encoder is None:
            from mmkit.inference.devices import pick_device
            from mmkit_retrieval.pictures.clip_images import ClipImages, same_model

            clip = ClipImages(self.clip, self.revision, str(pick_device(self.device)), self.precision)
            probe, begun_with = clip.probe().tolist(), self._store.model
            if begun_with is not None and not same_model(probe, begun_with.probe):
                raise DataError(
                    f"the image index was made with {begun_with.clip}, which is not the model {self.clip}",
                    where=self.folder,
                    hint="name that model, or build into a new folder",
                    code="retrieval.other-clip",
                )
            self._store.model = begun_with or Model(self.clip, self.revision, tuple(probe))
            self._encoder = clip
        return self._encoder

    def remove(self, ids: Sequence[str]) -> None:
        """Take the images of articles out."""
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
        if not self._is_finished(state, settings):
            self._write(state, kind, settings)
        needed = read_facts(self.folder)["checks"]
        for path in self.folder.glob("nearest-*.faiss"):
            if path.name not in needed:
                path.unlink()

    def _write(self, state: State, kind: nearest.Kind, settings: str) -> None:
        """Write the faiss files and, when those are durable, the facts."""
        (self.folder / FACTS).unlink(missing_ok=True)  # they say nothing of files that are being replaced
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
