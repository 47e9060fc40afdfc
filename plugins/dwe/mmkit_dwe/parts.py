"""`dwe.parts.v1`: the persons in an example's photos, as object images."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mmkit.annotators.pictures import PictureAnnotator, picture_key
from mmkit.annotators.pretrained import check_available, model_identity
from mmkit.data.types import Box, Example, Image
from mmkit.errors import PartError

if TYPE_CHECKING:
    from mmkit_dwe.finder import Finder

NOTE = "dwe.parts"
"""Note key: a description of each part, in the order of the parts: `{"label", "score", "box"}`."""


class Parts(PictureAnnotator):
    """Finds the parts of an example's photos (persons, by default) and adds them as object images.

    DWE (Song et al., AAAI 2024) cuts persons out with PixelLib's instance segmenter; this part does so with any
    object detector or instance segmenter of transformers. The `max_parts` best are added, best first, as
    `Image(photo, role="object", box=...)` after the existing images; boxes count pixels of the upright photo. Of a
    segmenter's mask only the box around it is kept, so a part shows its background, which PixelLib's cut-outs do not.

    A photo without persons has no part; DWE uses a zero vector then. A photo that is missing or broken has none
    either and is reported.

    Args:
        name: an object detector (DETR, YOLOS, RT-DETR, ...) or instance segmenter (Mask2Former, MaskFormer,
            DETR) of the Hub, or a folder that contains one.
        revision: the model's revision on the Hub.
        task: which of the two the model is; "auto" reads it from the model's configuration.
        labels: the model's labels whose objects are parts.
        threshold: the lowest score of a part.
        max_parts: the largest number of parts of an example.
        batch: how many examples are processed together; does not change results.
    """

    without: ClassVar[str] = "no parts"

    def __init__(
        self,
        name: str = "facebook/detr-resnet-50",
        revision: str | None = None,
        task: Literal["auto", "detection", "segmentation"] = "auto",
        labels: tuple[str, ...] = ("person",),
        threshold: float = 0.7,
        max_parts: int = 8,
        batch: int = 8,
    ) -> None:
        super().__init__()
        if not labels or max_parts < 1 or batch < 1:
            raise PartError(
                "dwe.parts.v1 needs a label, and max_parts and batch of at least 1", code="part.setting"
            )
        self.name, self.revision, self.labels = name, revision, tuple(labels)
        self.task: Literal["auto", "detection", "segmentation"] = task
        self.threshold, self.max_parts, self.batch_size = threshold, max_parts, batch
        self._finder: Finder | None = None

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny random detector, whose boxes are in the middle of the photo."""
        from mmkit_dwe.standins import save_detector

        save_detector(folder, seed)
        return {
            "name": str(folder),
            "revision": None,
            "task": "auto",
            "labels": ["person"],
            "threshold": 0.0,
            "max_parts": 2,
        }

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        settings = {
            "part": "dwe.parts.v1",
            "model": model_identity(self.name),
            "revision": self.revision,
            "task": self.task,
            "labels": self.labels,
            "threshold": self.threshold,
            "max_parts": self.max_parts,
        }
        return json.dumps(settings, sort_keys=True)

    def key(self, x: Example) -> str:
        keys = [picture_key(photo) for photo in _photos(x)]
        return hashlib.sha256(json.dumps(keys).encode()).hexdigest()

    def check_there(self) -> None:
        from mmkit_dwe.finder import finding_model

        model = finding_model(self.name, self.revision)
        model.check(*model.needs)

    def check_computable(self) -> None:
        from mmkit_dwe.finder import finding_model

        check_available(finding_model(self.name, self.revision))

    def prepare(self, device: str) -> None:
        from mmkit_dwe.finder import Finder  # transformers is imported only when a result is missing

        if self._finder is None:
            self._finder = Finder(
                self.name, self.labels, revision=self.revision, task=self.task, device=device
            )

    def annotate(self, batch: Sequence[Example]) -> list[dict[str, Any]]:
        """For each example its parts (`{"photo", "box", "score", "label"}`) and the unreadable photos.

        `photo` is a photo's position among the example's photos.
        """
        assert self._finder is not None, "prepare() comes first"
        results: list[dict[str, Any]] = [{"parts": [], "unreadable": []} for _ in batch]
        owners, pictures = [], []
        for x, result in zip(batch, results, strict=True):
            for position, picture in self.opened(enumerate(_photos(x)), result["unreadable"]):
                owners.append((result["parts"], position))
                pictures.append(self._finder.prepare(picture))
        found = self._finder(pictures, self.threshold, self.batch_size)
        for (parts, position), things in zip(owners, found, strict=True):
            parts += [
                {"photo": position, "box": list(f.box), "score": round(f.score, 4), "label": f.label}
                for f in things
            ]
        for result in results:
            result["parts"] = sorted(result["parts"], key=lambda part: -part["score"])[: self.max_parts]
        return results

    def apply(self, x: Example, result: dict[str, Any]) -> Example:
        """`x` with its parts after its images, and a note that describes them."""
        photos = _photos(x)
        self.remember(photos, result["unreadable"])
        parts = [_part(photos[part["photo"]], tuple(part["box"])) for part in result["parts"]]
        described = [
            {"label": part["label"], "score": part["score"], "box": list(image.box or ())}
            for part, image in zip(result["parts"], parts, strict=True)
        ]
        return replace(x, images=(*x.images, *parts), notes={**x.notes, NOTE: described})


def _photos(x: Example) -> list[Image]:
    return [image for image in x.images if image.role == "photo"]


def _part(photo: Image, box: Box) -> Image:
    """The part of a photo in `box`, which is relative to the photo's own box if it has one."""
    if photo.box is not None:
        left, top = (max(0, math.floor(side)) for side in photo.box[:2])
        box = (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
    return Image(photo.path, "object", box)
