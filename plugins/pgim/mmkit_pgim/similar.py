"""`pgim.similar.v1`: the annotated posts that are most like a post, as examples for a prompt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.annotators.base import Annotator
from mmkit.annotators.pictures import first_photo, picture_key
from mmkit.annotators.pretrained import model_identity
from mmkit.annotators.run import annotate
from mmkit.data.fingerprints import file_sha256
from mmkit.data.types import SOURCES, Example
from mmkit.errors import MMKitError, PartError, gathered
from mmkit_pgim.captions import Captions
from mmkit_pgim.notes import CAPTION, EXAMPLES
from mmkit_pgim.pool import read_pool

if TYPE_CHECKING:
    from mmkit_pgim.vectors import PostVectors

PART = "pgim.similar.v1"

DIGITS = 6
"""Scores are rounded to so many digits, so that posts that are equally similar have equal scores on every machine."""


class SimilarPosts(Annotator):
    """Notes the `n` posts of a pool that are most like a post, by text and photo (PGIM; Li et al., 2023).

    The pool is a few training posts with answers written by hand. Its posts become the note `pgim.examples`, from the
    least to the most similar, with text, caption and answer; `mmkit.sources` lists them with their scores. A post is
    never its own example: posts with its id or its text, whatever the spaces, are left out. Where several are equally
    similar, the earlier in the pool comes first.

    What posts are compared by is not published. With `run`, a trained tagger, it is the mean of its fuser's states of
    words, and the score a cosine. Without one, the score is the mean of the cosines of CLIP's vectors of texts and of
    photos.

    Args:
        pool: a file with two lines for each post: its id, and its answer.
        posts: the file of CoNLL columns that has the posts of the pool.
        images: the folder of its photos, relative to that file; None: the pool has no photos.
        n: the number of examples.
        run: a run that tags words of posts. None: CLIP.
        clip: a CLIP model of the Hub, or a folder that contains one.
        revision: its revision on the Hub.
        captions: a file of captions of the pool's photos; None: `captioner` makes them.
        captioner: the BLIP-2 model, as in `pgim.captions.v1`.
        captioner_revision: its revision on the Hub.
    """

    batch_size = 64

    def __init__(
        self,
        pool: str,
        posts: str,
        images: str | None = "images",
        n: int = 5,
        run: str | None = None,
        clip: str = "openai/clip-vit-base-patch32",
        revision: str | None = None,
        captions: str | None = None,
        captioner: str = "Salesforce/blip2-opt-2.7b",
        captioner_revision: str | None = None,
    ) -> None:
        if n < 1:
            raise PartError(f"n must be at least 1, not {n}", code="part.setting")
        self.pool, self.posts, self.images, self.n = pool, posts, images, n
        self.run, self.clip, self.revision = run, clip, revision
        self.captions = Captions(captioner, captioner_revision, captions)
        self._device = "cpu"
        self._vectors: PostVectors | None = None

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """A pool of some of the examples, a tiny CLIP, and the stand-in for a captioner."""
        from mmkit_pgim.stand_ins import save_similar

        return save_similar(folder, seed, examples)

    @cached_property
    def answered(self) -> list[tuple[Example, str]]:
        """The posts of the pool and their answers."""
        return read_pool(self.pool, self.posts, self.images)

    @cached_property
    def shown(self) -> list[dict[str, str]]:
        """The posts of the pool as they are shown: id, text, caption and answer."""
        annotated = annotate(self.captions, [x for x, _ in self.answered], self._device)
        return [
            {"id": x.id, "text": x.text, "caption": x.notes.get(CAPTION, ""), "answer": answer}
            for x, (_, answer) in zip(annotated, self.answered, strict=True)
        ]

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        from mmkit_pgim.vectors import files_of_run

        by: Any = [model_identity(self.clip), self.revision]
        if self.run is not None:
            by = [file_sha256(file) for file in files_of_run(self.run)]
        pool = [(x.id, x.text, _photo(x), answer) for x, answer in self.answered]
        settings = {"part": PART, "own": "without spaces", "n": self.n, "by": by, "pool": pool}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def key(self, x: Example) -> str:
        return hashlib.sha256(json.dumps([post_of(x), x.text, _photo(x)]).encode()).hexdigest()

    def check_there(self) -> None:
        """Raise `MMKitError` if the pool, its posts, the run or a model that is a folder is not there."""
        _ = self.answered
        self.captions.check_there()
        if self.run is not None and not (Path(self.run) / "model.safetensors").is_file():
            raise PartError(
                "there is no trained run",
                where=self.run,
                hint="train one, such as umt_twitter15, or set run = null: then CLIP compares posts",
                code="pgim.no-run",
            )

    def check_computable(self) -> None:
        errors: list[MMKitError] = []
        try:
            self.captions.check_computable()
        except MMKitError as error:
            errors += error.each or (error,)
        if self.run is None:
            from mmkit.encoders.clip_image import ClipImageEncoder

            errors += ClipImageEncoder(self.clip, revision=self.revision).problems()
        if errors:
            raise gathered(errors)

    def prepare(self, device: str) -> None:
        from mmkit_pgim.vectors import ClipVectors, RunVectors

        self._device = device
        if self._vectors is None:
            by_clip = self.run is None
            self._vectors = (
                ClipVectors(self.clip, self.revision, device)
                if by_clip
                else RunVectors(str(self.run), device)
            )
            self._pool_vectors = self._vectors.of([x for x, _ in self.answered])

    def annotate(self, batch: Sequence[Example]) -> list[list[list[float]]]:
        """For each example, [position in the pool, score] of the most similar posts, the most similar first."""
        assert self._vectors is not None, "prepare() comes first"
        scores = (self._vectors.of(batch) @ self._pool_vectors.T).round(DIGITS).tolist()
        return [self._best(x, own) for x, own in zip(batch, scores, strict=True)]

    def _best(self, x: Example, scores: list[float]) -> list[list[float]]:
        others = [
            at
            for at, (post, _) in enumerate(self.answered)
            if post.id != post_of(x) and _letters(post) != _letters(x)
        ]
        best = sorted(others, key=lambda at: (-scores[at], at))[: self.n]
        return [[at, scores[at]] for at in best]

    def apply(self, x: Example, result: list[list[float]]) -> Example:
        """`x` with its examples and their scores as notes."""
        found = [(self.shown[int(at)], score) for at, score in result]
        sources = [
            {"by": PART, "id": post["id"], "title": post["id"], "score": score, "text": post["text"]}
            for post, score in found
        ]
        notes = {
            EXAMPLES: [post for post, _ in reversed(found)],
            SOURCES: [*x.notes.get(SOURCES, ()), *sources],
        }
        return replace(x, notes={**x.notes, **notes})


def post_of(x: Example) -> str:
    """The id of the post; readers add `#2` to that of a post which occurs again."""
    return x.id.partition("#")[0]


def _letters(x: Example) -> str:
    """The text without white space."""
    return "".join(x.text.split())


def _photo(x: Example) -> str:
    found = first_photo(x)
    return picture_key(found[1]) if found else ""
