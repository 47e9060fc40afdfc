"""Profiles of faces in the words of DWE's authors, and deepface, which reads them from an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image as Pillow

from mmkit.errors import PartError

ATTRIBUTES = ("gender", "race", "age", "emotion")
"""The attributes, in the order of the authors' profiles."""


def profile_text(attributes: Mapping[str, object]) -> str:
    """ "gender: Man, race: white, age: 31, emotion: happy" """
    return ", ".join(f"{name}: {value}" for name, value in attributes.items())


def face_profile(face: Mapping[str, Any], attributes: Sequence[str] = ATTRIBUTES) -> str:
    """The profile of a face from deepface's description (`age`, `dominant_gender`, ...); "" if that is empty.

    Raises `ValueError` for a value that is neither text nor a number.
    """
    told: dict[str, str | int] = {}
    for name in attributes:
        field = "age" if name == "age" else f"dominant_{name}"
        value = face.get(field)
        if isinstance(value, str | int):
            told[name] = value
        elif isinstance(value, float):
            told[name] = round(value)
        elif value is not None:
            raise ValueError(f"`{field}` is a {type(value).__name__}, not text or a number")
    return profile_text(told)


def check_installed() -> None:
    """Raise `PartError` if deepface is not installed. It is not imported, because that takes long."""
    try:
        found = find_spec("deepface") is not None
    except ValueError:  # of a module that is imported and does not say where it comes from
        found = True
    if not found:
        raise _cannot_be_imported("it is not installed")


def _cannot_be_imported(why: str) -> PartError:
    return PartError(
        f"the face analyser deepface cannot be imported: {why}",
        where="dwe.profiles.v1",
        hint='pip install "mmkit-dwe[faces]"; or name image classifiers under `classifiers`, or read '
        "the authors' profiles with dwe.published_parts.v1",
        code="part.needs-package",
    )


class FaceAnalyser:
    """The faces in images, found by deepface (Serengil and Ozpinar, 2020), an optional package.

    Raises `PartError` if it is not installed.
    """

    def __init__(self, attributes: Sequence[str] = ATTRIBUTES, face_detector: str = "opencv") -> None:
        try:
            from deepface import DeepFace
        except ImportError as error:
            raise _cannot_be_imported(str(error)) from error
        self._analyse = DeepFace.analyze
        self.attributes, self.face_detector = list(attributes), face_detector

    def __call__(self, picture: Pillow.Image) -> str:
        """The profile of the largest face in an image, "" if there is none."""
        bgr = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
        try:
            faces = self._analyse(
                img_path=bgr,
                actions=self.attributes,
                enforce_detection=False,
                detector_backend=self.face_detector,
                silent=True,
            )
        except Exception as error:  # its backends raise almost anything, as do downloads of its models
            raise PartError(
                f"deepface failed: {type(error).__name__}: {error}",
                where="dwe.profiles.v1",
                hint="its models are downloaded when they are first used; check that they and the face detector "
                f"{self.face_detector!r} work in Python",
                code="dwe.face-analyser",
            ) from error
        # Where no face is found, the whole image comes back as one with confidence 0; "skip" asks for that.
        found = [f for f in faces if self.face_detector == "skip" or f["face_confidence"] != 0]
        return face_profile(max(found, key=_area), self.attributes) if found else ""


def _area(face: Mapping[str, Any]) -> int:
    area: int = face["region"]["w"] * face["region"]["h"]
    return area
