"""`dwe.profiles.v1`: descriptions of the parts of a photo, as texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from PIL import Image as Pillow

from mmkit.annotators.pictures import PictureAnnotator, picture_key
from mmkit.annotators.pretrained import check_available, model_identity
from mmkit.data.types import Example, Image
from mmkit.errors import PartError, did_you_mean
from mmkit_dwe.faces import ATTRIBUTES

if TYPE_CHECKING:
    from mmkit.pretrained.source import Pretrained
    from mmkit_dwe.classifiers import Classifiers
    from mmkit_dwe.faces import FaceAnalyser

NOTE = "dwe.profiles"
"""Note key: the profile of each part, in the order of the object images; "" if there is no face."""


class Profiles(PictureAnnotator):
    """Writes an attribute profile of each object image: "gender: Man, race: white, age: 31, emotion: happy".

    DWE (Song et al., AAAI 2024) enhances persons' features with such texts. They come from the face analyser
    deepface, the optional extra `faces`, of a part's largest face; or, with `classifiers`, from image classifiers of
    transformers, which see the whole part, give their most probable class and need no extra. Attributes of faces are
    guesses, and sensitive. A part that is missing or broken has the profile "" and is reported.

    They become the note `dwe.profiles`, which a text encoder reads with `source = "note:dwe.profiles"`; if the data
    contains its own attribute texts (scene, clothing) in another note, name that note instead and remove this part.

    Args:
        attributes: the attributes from deepface, in the order of the profile.
        face_detector: deepface's detector of faces (its `detector_backend`).
        classifiers: attribute → an image classifier of the Hub, or a folder that contains one; in the order of the
            profile, instead of deepface.
        revisions: attribute → its classifier's revision on the Hub.
        batch: how many examples are processed together; does not change results.
    """

    without: ClassVar[str] = "no profile"

    def __init__(
        self,
        attributes: tuple[str, ...] = ATTRIBUTES,
        face_detector: str = "opencv",
        classifiers: dict[str, str] | None = None,
        revisions: dict[str, str] | None = None,
        batch: int = 8,
    ) -> None:
        super().__init__()
        self.attributes, self.face_detector = tuple(attributes), face_detector
        self.classifiers, self.revisions = classifiers or {}, revisions or {}
        self.batch_size = batch
        self._analyser: FaceAnalyser | None = None
        self._classifiers: Classifiers | None = None
        for names, known, what in (
            (self.attributes, ATTRIBUTES, "deepface gives no attribute"),
            (self.revisions, self.classifiers, "there is no classifier of"),
        ):
            for name in names:
                if name not in known:
                    raise PartError(
                        f"{what} {name!r}",
                        where="dwe.profiles.v1",
                        hint=did_you_mean(name, known),
                        code="part.setting",
                    )
        if not self.attributes or batch < 1:
            raise PartError(
                "needs an attribute and a batch of at least 1", where="dwe.profiles.v1", code="part.setting"
            )

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save tiny random classifiers, whose answers are random."""
        from mmkit_dwe.standins import save_classifier

        answers = {"gender": ["Man", "Woman"], "emotion": ["angry", "happy", "neutral", "sad"]}
        for attribute, labels in answers.items():
            save_classifier(folder / attribute, seed, labels)
        return {"classifiers": {name: str(folder / name) for name in answers}, "revisions": None}

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        source: list[Any] = ["deepface", self.face_detector, *self.attributes]
        if self.classifiers:
            source = [
                [name, model_identity(model), self.revisions.get(name)]
                for name, model in self.classifiers.items()
            ]
        return json.dumps(["dwe.profiles.v1", source])

    def key(self, x: Example) -> str:
        keys = [picture_key(part) for part in _parts(x)]
        return hashlib.sha256(json.dumps(keys).encode()).hexdigest()

    def check_there(self) -> None:
        for model in self._models():
            model.check(*model.needs)

    def check_computable(self) -> None:
        from mmkit_dwe.faces import check_installed

        if not self.classifiers:
            check_installed()
        check_available(*self._models())

    def _models(self) -> list[Pretrained]:
        from mmkit_dwe.classifiers import classification_model

        named = self.classifiers.items()
        return [classification_model(at, name, self.revisions.get(at)) for at, name in named]

    def prepare(self, device: str) -> None:
        """Load the models. Raises `PartError` if deepface is needed and not installed."""
        if self.classifiers and self._classifiers is None:
            from mmkit_dwe.classifiers import Classifiers

            self._classifiers = Classifiers(self.classifiers, self.revisions, device)
        elif not self.classifiers and self._analyser is None:
            from mmkit_dwe.faces import FaceAnalyser

            self._analyser = FaceAnalyser(self.attributes, self.face_detector)

    def annotate(self, batch: Sequence[Example]) -> list[dict[str, Any]]:
        """For each example the profiles of its parts and the positions of those that cannot be read."""
        results: list[dict[str, Any]] = []
        pictures: list[Pillow.Image] = []
        owners: list[tuple[list[str], int]] = []
        for x in batch:
            parts = _parts(x)
            result: dict[str, Any] = {"profiles": [""] * len(parts), "unreadable": []}
            for position, picture in self.opened(enumerate(parts), result["unreadable"]):
                pictures.append(picture)
                owners.append((result["profiles"], position))
            results.append(result)
        for (profiles, position), text in zip(owners, self._texts(pictures), strict=True):
            profiles[position] = text
        return results

    def apply(self, x: Example, result: dict[str, Any]) -> Example:
        """`x` with the profiles of its parts in its notes."""
        self.remember(_parts(x), result["unreadable"])
        return replace(x, notes={**x.notes, NOTE: result["profiles"]})

    def _texts(self, pictures: Sequence[Pillow.Image]) -> list[str]:
        if self._classifiers is not None:
            return self._classifiers(pictures)
        assert self._analyser is not None, "prepare() comes first"
        return [self._analyser(picture) for picture in pictures]


def _parts(x: Example) -> list[Image]:
    return [image for image in x.images if image.role == "object"]
