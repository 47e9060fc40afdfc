"""`retrieval.pictures.v1`: the articles of the images that are most similar to a post's photo, as its context."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mmkit.annotators.pictures import PictureAnnotator, first_photo, picture_key
from mmkit.annotators.pretrained import model_identity
from mmkit.data.types import Example
from mmkit.errors import PartError, gathered
from mmkit_retrieval.annotators.contexts import (
    IMAGE_CONTEXT,
    SPARE,
    choose,
    join,
    packed,
    unpacked,
    with_context,
)
from mmkit_retrieval.annotators.sample_corpus import write_corpus
from mmkit_retrieval.pictures.image_facts import read_facts
from mmkit_retrieval.pictures.vectors import Model
from mmkit_retrieval.servers.milvus import MilvusImages
from mmkit_retrieval.servers.milvus_client import check_address, checked_address

if TYPE_CHECKING:
    from mmkit_retrieval.pictures.clip_images import ClipImages, Precision
    from mmkit_retrieval.pictures.image_index import ImageIndex


class ImageRetrieval(PictureAnnotator):
    """Retrieves images by CLIP, with the post's photo as the query, and stores their texts as a note.

    MoRe (Wang et al., EMNLP Findings 2022, section 3.1) searches Wikipedia's images in this way. The note joins the
    captions of the `top` nearest images, each with the first paragraph of its article. A text that is the post's
    sentence is left out (`choose` in `annotators/contexts.py`). The note `mmkit.sources` lists the images. An example
    without a photo, or with a blank one, stays as it is. For a missing or broken photo nothing is retrieved, and it is
    reported.

    A subclass can write another note under its own part name: see `part`, `note` and `write_sample_corpus`.

    Args:
        index: the folder that `mmkit retrieval build-index` wrote, or the name of a Milvus collection.
        top: the largest number of images in a context.
        max_words: the largest number of words in a context, separated by white space. Encoders cut it further if it
            is too long.
        engine: `faiss` for an index on disk, `milvus` for a server (`servers/milvus.py`).
        url: the address of Milvus, without credentials, which come from an environment variable; or a file of
            milvus-lite.
        clip: a folder with the CLIP model of the index, if the model cannot be loaded by the name in the index.
        precision: of CLIP; "auto" is float16 on a GPU and float32 elsewhere.
        batch_size: how many photos are encoded together.
    """

    part: ClassVar[str] = "retrieval.pictures.v1"
    """The name under which the part is registered. Stored results and sources carry it."""
    note: ClassVar[str] = IMAGE_CONTEXT
    """The key of the note."""
    without = "no retrieved context"

    def __init__(
        self,
        index: str,
        top: int = 10,
        max_words: int = 400,
        engine: Literal["faiss", "milvus"] = "faiss",
        url: str | None = None,
        clip: str | None = None,
        precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        batch_size: int = 64,
    ) -> None:
        super().__init__()
        for name, value in {"top": top, "max_words": max_words, "batch_size": batch_size}.items():
            if value < 1:
                raise PartError(
                    f"{name} = {value}, but it must be positive", where=self.part, code="part.setting"
                )
        if (engine == "faiss") != (url is None):
            what = "needs a `url`" if url is None else "searches a folder, and takes no `url`"
            raise PartError(f'engine = "{engine}" {what}', where=self.part, code="retrieval.engine-setting")
        self.index, self.top, self.max_words, self.engine = index, top, max_words, engine
        self.url = url and checked_address(url)
        self.clip, self.batch_size = clip, batch_size
        self.precision: Precision = precision
        self._searched: ImageIndex | MilvusImages | None = None
        self._clip: ClipImages | None = None

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Build the image index of the sample corpus, with a tiny CLIP model."""
        from mmkit.encoders.clip_sample import write_tiny_clip
        from mmkit.encoders.sampling import make_once
        from mmkit_retrieval.indexing.build import build_index

        corpus = cls.write_sample_corpus(folder.with_name(f"{folder.name}-corpus"), seed, examples)
        clip = str(write_tiny_clip(folder.with_name(f"{folder.name}-clip"), seed, examples))

        def build(made: Path) -> None:
            build_index(corpus, made, text=False, clip=clip, device="cpu")

        make_once(folder, build)
        return {"index": str(folder), "engine": "faiss", "url": None, "clip": None}

    @classmethod
    def write_sample_corpus(cls, folder: Path, seed: int, examples: Sequence[Example]) -> Path:
        """Write the corpus of `--sample` to `folder`, unless it exists; return its path."""
        return write_corpus(folder, examples)

    def check_there(self) -> None:
        if self.engine == "faiss":
            read_facts(self._folder)

    def check_computable(self) -> None:
        """Raises `PartError` for a CLIP model that cannot be had, and `MMKitError` for a Milvus without its client."""
        if self.engine == "milvus":
            assert self.url is not None
            check_address(self.url)
        elif (facts := read_facts(self._folder))["model"]:
            from mmkit.encoders.clip_image import ClipImageEncoder

            model = Model.of(facts["model"])
            name, revision = (self.clip, None) if self.clip else (model.clip, model.revision)
            if errors := list(ClipImageEncoder(name, revision=revision, store=False).problems()):
                raise gathered(errors)

    def fingerprint(self) -> str:
        """Everything that results depend on. Raises `DataError` if there is no finished index."""
        searched = read_facts(self._folder)["identity"] if self.engine == "faiss" else self._milvus().identity
        settings = {
            "part": self.part,
            "engine": self.engine,
            "index": searched,
            "clip": self.clip and model_identity(self.clip),
            "precision": self.precision,
            "top": self.top,
            "max_words": self.max_words,
        }
        return json.dumps(settings, sort_keys=True)

    def key(self, x: Example) -> str:
        """A hash of the photo's content and of the sentence (which is left out of its own context)."""
        found = first_photo(x)
        if found is None:
            return ""
        looked_at = json.dumps([picture_key(found[1]), x.text])
        return hashlib.sha256(looked_at.encode()).hexdigest()

    def prepare(self, device: str) -> None:
        """Open the index (again, if it has changed), and load its CLIP model.

        Raises `PartError` if `clip` is not the model with which the index was built.
        """
        if self.engine == "milvus":
            self._milvus()
        else:
            from mmkit_retrieval.pictures.image_index import ImageIndex

            if self._searched is None or self._searched.identity != read_facts(self._folder)["identity"]:
                if self._searched is not None:
                    self._searched.close()
                self._searched, self._clip = ImageIndex.open(self._folder), None
        assert self._searched is not None
        if self._clip is None and self._searched.model is not None:
            from mmkit_retrieval.pictures.clip_images import clip_of

            self._clip = clip_of(self._searched.model, self.clip, device, self.precision)

    def _milvus(self) -> MilvusImages:
        """The collection. It is connected once."""
        if not isinstance(self._searched, MilvusImages):
            assert self.url is not None
            self._searched = MilvusImages(self.url, self.index)
        return self._searched

    def annotate(self, batch: Sequence[Example]) -> list[dict[str, Any]]:
        """For each example, the `context` and the hits (`found`), or why its photo is `unreadable`."""
        assert self._searched is not None, "prepare() comes first"
        photos = [(row, found[1]) for row, x in enumerate(batch) if (found := first_photo(x))]
        unreadable: list[list[Any]] = []
        results: list[dict[str, Any]] = [packed([], "") for _ in batch]
        if self._clip is not None:
            clip = self._clip
            read = [(row, clip.pixels(picture)) for row, picture in self.opened(photos, unreadable)]
            hits = self._searched.search(clip.vectors([pixels for _, pixels in read]), self.top + SPARE)
            for (row, _), some in zip(read, hits, strict=True):
                chosen = choose(some, batch[row], self.top)
                results[row] = packed(chosen, join(chosen, self.max_words))
        for row, reason in unreadable:
            results[row]["unreadable"] = reason
        return results

    def apply(self, x: Example, result: dict[str, Any]) -> Example:
        """`x` with the context as a note, and with its sources."""
        if "unreadable" in result and (found := first_photo(x)):
            self.remember(x.images, [(found[0], result["unreadable"])])
        return with_context(x, self.note, self.part, *unpacked(result))

    @property
    def _folder(self) -> Path:
        return Path(self.index) / "images"
