"""`gmner.proposals.v1`: regions of a photo that may show what a sentence names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mmkit.annotators.pictures import PictureAnnotator, first_photo, picture_key
from mmkit.annotators.pretrained import check_available, model_identity
from mmkit.data.fingerprints import file_sha256
from mmkit.data.regular import is_file
from mmkit.data.types import Example, Image
from mmkit.errors import DataError, PartError
from mmkit_gmner.overlap import iou
from mmkit_gmner.sample import regions_of
from mmkit_gmner.vinvl import Proposal, read_regions, region_file

if TYPE_CHECKING:
    from PIL import Image as Pillow

    from mmkit_hvpnet.detector import Detector

NOTE = "gmner.proposals"
"""Note key: what the detector says of each object image, in their order: `{"label", "score"}`."""

WHOLE = "photo"

PHRASES = (
    *("person", "face", "group of people", "player", "logo", "sign", "text", "flag", "building", "stadium"),
    *("landscape", "poster", "screen", "product", "car", "animal", "trophy", "cartoon character"),
)
"""What a detector is asked for: things that stand for names of the four types."""


class Proposals(PictureAnnotator):
    """Adds regions of the photo as object images: the whole photo first, then what a detector finds, the best first.

    The whole photo is right for three of ten names that are to be seen. The regions are `Image(photo, role="object",
    box=...)`, after the existing images; the note `gmner.proposals` says what each is. A photo that is missing or
    broken has none, and is reported.

    Args:
        source: "detector": a zero-shot detector of transformers looks for `phrases`; or "vinvl": files of regions, as
            VinVL's detector gives them (Zhang et al., 2021), lie in `folder` as `<id>.jpg.npz`. A photo without such a
            file has only itself, and is reported.
        model: the detector: a model of the Hub, or a folder that contains one.
        revision: the model's revision on the Hub.
        phrases: what the detector looks for; None stands for a list of things that names of the four types are.
        folder: the folder of the files of regions.
        most: the largest number of regions, with the whole photo.
        threshold: the lowest score of a region.
        overlap: of two regions that overlap more than this (intersection over union), the better one stays.
    """

    without: ClassVar[str] = "no region but the whole photo, if that can be read"

    def __init__(
        self,
        source: Literal["detector", "vinvl"] = "detector",
        model: str = "IDEA-Research/grounding-dino-tiny",
        revision: str | None = None,
        phrases: list[str] | None = None,
        folder: str | None = None,
        most: int = 16,
        threshold: float = 0.15,
        overlap: float = 0.7,
    ) -> None:
        super().__init__()
        if source == "vinvl" and folder is None:
            raise PartError(
                'source = "vinvl" reads files of regions, and needs the folder that they are in',
                hint="set `folder`",
                code="part.setting",
            )
        if most < 1:
            raise PartError(f"most = {most}, but the whole photo is a region too", code="part.setting")
        if not 0 <= overlap <= 1:
            raise PartError(f"overlap is a share, from 0 to 1, not {overlap}", code="part.setting")
        self.source, self.model, self.revision = source, model, revision
        self.phrases = list(PHRASES if phrases is None else phrases)
        self.folder = None if folder is None else Path(folder)
        self.most, self.threshold, self.overlap = most, threshold, overlap
        self._detector: Detector | None = None

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        settings: dict[str, Any] = {
            "part": "gmner.proposals.v1",
            "source": self.source,
            "most": self.most,
            "threshold": self.threshold,
            "overlap": self.overlap,
        }
        if self.source == "detector":
            found = {"model": model_identity(self.model), "revision": self.revision, "phrases": self.phrases}
            settings |= found
        return json.dumps(settings, sort_keys=True)

    def key(self, x: Example) -> str:
        found = first_photo(x)
        if found is None:
            return ""
        regions = self._regions_file(found[1])
        parts = [picture_key(found[1]), "" if regions is None else file_sha256(regions)]
        return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def check_there(self) -> None:
        if self.source == "detector":
            model = _detection_model(self.model, self.revision)
            model.check(*model.needs)
        elif self.folder is not None and not self.folder.is_dir():
            raise DataError(
                "there is no such folder of regions",
                where=self.folder,
                hint='docs/papers/gmner.md says where VinVL\'s are; source = "detector" needs none',
                code="file.missing",
            )

    def check_computable(self) -> None:
        if self.source == "detector":
            check_available(_detection_model(self.model, self.revision))

    def prepare(self, device: str) -> None:
        if self.source == "detector" and self._detector is None:
            from mmkit_hvpnet.detector import (
                Detector,
            )  # transformers is imported only when a result is missing

            self._detector = Detector(self.model, self.revision, device)

    def annotate(self, batch: Sequence[Example]) -> list[dict[str, Any]]:
        """For each example `{"regions": [{"box", "label", "score"}, ...], "unreadable": [[position, reason]]}`."""
        return [self._proposed(example) for example in batch]

    def apply(self, x: Example, result: dict[str, Any]) -> Example:
        """`x` with its regions after its images, and a note that describes them."""
        self.remember(x.images, result["unreadable"])
        photo = first_photo(x)
        if photo is None:
            return x
        images = [Image(photo[1].path, "object", tuple(found["box"])) for found in result["regions"]]
        described = [{"label": found["label"], "score": found["score"]} for found in result["regions"]]
        return replace(x, images=(*x.images, *images), notes={**x.notes, NOTE: described})

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """The regions that lie beside the photos of this package's sample; for other photos, their quarters."""
        return {"source": "vinvl", "folder": str(regions_of(examples, folder))}

    def _proposed(self, example: Example) -> dict[str, Any]:
        photo = first_photo(example)
        assert photo is not None, "an example without a photo has no key"
        unreadable: list[list[Any]] = []
        proposals: list[Proposal] = []
        for position, picture in self.opened([photo], unreadable):
            whole = (0.0, 0.0, float(picture.width), float(picture.height))
            regions = self._regions(picture, photo[1])
            if regions is None:
                unreadable.append(
                    [position, f"there is no {region_file(Path(str(self.folder)), str(photo[1].path))}"]
                )
            proposals = self._best((whole, WHOLE, 1.0), regions or ())
        described = [
            {"box": list(box), "label": label, "score": round(score, 4)} for box, label, score in proposals
        ]
        return {"regions": described, "unreadable": unreadable}

    def _regions(self, picture: Pillow.Image, photo: Image) -> list[Proposal] | None:
        """What the detector found; None: there is no file that says it."""
        if self.source == "vinvl":
            file = self._regions_file(photo)
            return None if file is None else read_regions(file, picture.size)
        assert self._detector is not None, "prepare() comes first"
        objects = self._detector(picture, self.phrases, self.threshold)
        return [(found.box, found.phrase, found.score) for found in objects]

    def _regions_file(self, photo: Image) -> Path | None:
        if self.source != "vinvl" or self.folder is None or photo.path is None:
            return None
        file = region_file(self.folder, photo.path)
        return file if is_file(file) else None

    def _best(self, whole: Proposal, found: Sequence[Proposal]) -> list[Proposal]:
        """The whole photo, and of the others the best that are good enough and do not overlap with a better one."""
        kept = [whole]
        for proposal in sorted(found, key=lambda proposal: -proposal[2]):
            if len(kept) == self.most or proposal[2] < self.threshold:
                break
            if all(iou(proposal[0], other[0]) <= self.overlap for other in kept):
                kept.append(proposal)
        return kept


def _detection_model(name: str, revision: str | None) -> Any:
    from mmkit_hvpnet.detector import detection_model

    return detection_model(name, revision)
