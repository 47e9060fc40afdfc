"""`dwe.published_parts.v1`: the person parts and profiles that DWE's authors publish for WikiMEL."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mmkit.annotators.base import Annotator
from mmkit.data.fingerprints import file_sha256
from mmkit.data.inside import inside, leads_out
from mmkit.data.json_text import read_json
from mmkit.data.regular import is_file
from mmkit.data.types import Example, Image
from mmkit.errors import DataError
from mmkit_dwe.faces import face_profile
from mmkit_dwe.profiles import NOTE

SOURCE = "download it from the DWE repository's data; DWE's page in the docs says where to put it"
SHAPE = "it maps a photo's name without suffix to a list of part names"

log = logging.getLogger(__name__)


class PublishedParts(Annotator):
    """Adds the authors' part images to examples, and profiles of the faces that they found in them.

    `root` contains the authors' files: a JSON map from a photo's name (up to its first full stop) to its part names;
    a folder with an image `<part>.jpg` of each part; a folder with `<part>.json`, a list whose first item is
    deepface's description of a face, or of none. A photo that is not in the map has no part. Profiles become the note
    `dwe.profiles`, one for each part, "" if no face was found.

    Raises `DataError` for a map or a face file of another form, and for part names that lead out of their folders.

    Args:
        root: the folder of these files.
        map: the map's file.
        parts: the folder of the part images.
        detections: the folder of the face files; without it there are no profiles.
        missing: with "none", a part without an image file is left out, and a missing face file gives the profile "";
            both are counted and reported. With "error" they are errors.
    """

    def __init__(
        self,
        root: str,
        map: str = "total2part_map.json",
        parts: str = "wiki_segement",  # the authors' spelling
        detections: str | None = "wiki_detection",
        missing: Literal["error", "none"] = "error",
    ) -> None:
        self.root, self.map, self.parts, self.detections = root, map, parts, detections
        self.missing = missing
        self.missed: set[str] = set()
        """Files that the map names and that do not exist."""
        self._reported = 0

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Write parts and faces of all photos beside those of `examples` (which are of one split)."""
        from mmkit_dwe.sample_parts import FACES, MAP, PARTS, write_parts

        paths = [image.path for x in examples for image in x.images if image.role == "photo"]
        folders = {Path(path).parent for path in paths if path is not None}
        made = folder / ("parts" if folders else "blank")
        write_parts(made, seed, (photo for f in folders for photo in f.iterdir() if photo.is_file()))
        return {"root": str(made), "map": MAP, "parts": PARTS, "detections": FACES, "missing": "error"}

    def check_there(self) -> None:
        _ = self._table

    def fingerprint(self) -> str:
        return json.dumps(["dwe.published_parts.v1", self.detections is not None, self.missing])

    def key(self, x: Example) -> str:
        """A hash of everything that decides the result: part names, which images exist, and the face files."""
        read = [[name, is_file(self._picture(name)), self._face_sha(name)] for _, name in self._named(x)]
        return hashlib.sha256(json.dumps(read).encode()).hexdigest()

    def annotate(self, batch: Sequence[Example]) -> list[dict[str, Any]]:
        """For each example its parts' names, their profiles, and the files that do not exist."""
        return [self._read(x) for x in batch]

    def apply(self, x: Example, result: dict[str, Any]) -> Example:
        """`x` with its parts after its images, and their profiles in its notes."""
        self.missed.update(str(self._picture(name)) for name in result["lost"]["pictures"])
        self.missed.update(str(self._face(name)) for name in result["lost"]["faces"])
        parts = [Image(str(self._picture(name)), "object") for name in result["parts"]]
        notes = {} if self.detections is None else {NOTE: result["profiles"]}
        return replace(x, images=(*x.images, *parts), notes={**x.notes, **notes})

    def finish(self) -> None:
        """Report the files that do not exist, if there are more than at the last report."""
        if len(self.missed) > self._reported:
            self._reported = len(self.missed)
            log.warning(
                "%d files that %s asks for do not exist, %s the first",
                len(self.missed),
                self.map,
                min(self.missed),
            )

    @cached_property
    def _table(self) -> dict[str, list[str]]:
        """The map, after a check that every part name stays in its folder."""
        path = Path(self.root) / self.map
        table = read_json(path, SOURCE)
        if not isinstance(table, dict):
            raise DataError(
                f"the map of parts is a {type(table).__name__}", where=path, hint=SHAPE, code="dwe.parts-map"
            )
        for photo, names in table.items():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise DataError(
                    f"the entry {photo!r} is not a list of names",
                    where=path,
                    hint=SHAPE,
                    code="dwe.parts-map",
                )
            for name in names:
                if "\0" in name or inside(self.parts, name) is None:
                    raise leads_out(
                        f"the part {name!r} of {photo!r} leads out of its folder",
                        path,
                        "parts",
                        code="dwe.part-outside",
                    )
        return table

    def _named(self, x: Example) -> list[tuple[str, str]]:
        """(key of the map, part name) of each part of the example's photos."""
        named = []
        for image in x.images:
            if image.role == "photo" and image.path is not None:
                file = Path(image.path)
                keys = (file.stem, file.name.partition(".")[0])  # the authors cut at the first full stop
                key = next((key for key in keys if key in self._table), None)
                named += [(key, name) for name in self._table[key]] if key is not None else []
        return named

    def _read(self, x: Example) -> dict[str, Any]:
        parts, profiles = [], []
        lost: dict[str, list[str]] = {"pictures": [], "faces": []}
        for photo, name in self._named(x):
            where = f"the part {name!r} of {photo!r} in {self.map}"
            if not self._there(self._picture(name), f"{where} has no image"):
                lost["pictures"].append(name)
                continue
            parts.append(name)
            if (face := self._face(name)) is not None:
                there = self._there(face, f"{where} has no face file")
                profiles.append(_profile(face) if there else "")
                lost["faces"] += [] if there else [name]
        return {"parts": parts, "profiles": profiles, "lost": lost}

    def _there(self, path: Path, lack: str) -> bool:
        if not is_file(path) and self.missing == "error":
            hint = f'{SOURCE}; or set `missing = "none"` to use no parts for it'
            raise DataError(lack, where=path, hint=hint, code="dwe.no-attribute")
        return is_file(path)

    def _picture(self, name: str) -> Path:
        return Path(self.root) / self.parts / f"{name}.jpg"

    def _face(self, name: str) -> Path | None:
        return None if self.detections is None else Path(self.root) / self.detections / f"{name}.json"

    def _face_sha(self, name: str) -> str | None:
        face = self._face(name)
        return file_sha256(face) if face is not None and is_file(face) else None


def _profile(path: Path) -> str:
    """The profile of the first face in a face file, "" if there is none."""
    faces = read_json(path)
    if not isinstance(faces, list) or not all(isinstance(face, dict) for face in faces[:1]):
        raise DataError(
            "this is not a list of faces",
            where=path,
            hint="deepface's analysis as JSON is one",
            code="dwe.faces-file",
        )
    try:
        return face_profile(faces[0]) if faces else ""
    except ValueError as error:
        raise DataError(str(error), where=path, code="dwe.faces-file") from None
