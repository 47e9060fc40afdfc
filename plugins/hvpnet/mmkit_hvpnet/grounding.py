"""`hvpnet.grounded_objects.v1`: the objects in a photo that its sentence mentions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mmkit.annotators.pictures import PictureAnnotator, picture_key
from mmkit.annotators.pretrained import check_available, model_identity
from mmkit.data.images import open_image
from mmkit.data.types import Example, Image
from mmkit.files import atomic, explained, write_json

if TYPE_CHECKING:
    from mmkit.pretrained.source import Pretrained
    from mmkit_hvpnet.detector import Detector, Found
    from mmkit_hvpnet.phrases import PosTagger

NOTE = "hvpnet.grounded_objects"
"""Note key: a description of each object, in the order of the object images: `{"phrase", "score", "box"}`."""

TABLE = "crops.json"


class GroundedObjects(PictureAnnotator):
    """Looks for a sentence's noun phrases in its photos and adds the results as object images.

    HVPNeT (Chen et al., NAACL Findings 2022) grounds noun phrases with a one-stage visual grounding model; this part
    does so with any zero-shot detector of transformers. Each phrase gives its best box; the `max_objects` best of
    them are added as `Image(photo, role="object", box=...)`, after the existing images. A photo that is missing or
    broken has no objects and is reported.

    Args:
        model: a zero-shot detector of the Hub, or a folder that contains one.
        revision: the model's revision on the Hub.
        tagger: a part-of-speech tagger of the Hub (universal or Penn tags) that finds noun phrases; without one,
            sequences of words that are not function words are used, which suits only English.
        max_objects: the largest number of objects of an example.
        threshold: the lowest score of an object.
        overlap: of two boxes that overlap more than this (intersection over union), the better one stays.
        crops: a folder to which the objects are written as images, with a table `crops.json` in the form that the
            readers take: photo's file name → crop files.
    """

    writes: ClassVar[tuple[str, ...]] = ("crops",)
    without: ClassVar[str] = "no objects"

    def __init__(
        self,
        model: str = "IDEA-Research/grounding-dino-tiny",
        revision: str | None = None,
        tagger: str | None = None,
        max_objects: int = 3,
        threshold: float = 0.25,
        overlap: float = 0.7,
        crops: str | None = None,
    ) -> None:
        super().__init__()
        self.model, self.revision, self.tagger = model, revision, tagger
        self.max_objects, self.threshold, self.overlap = max_objects, threshold, overlap
        self.crops = Path(crops) if crops else None
        self._table: dict[str, dict[str, float]] = {}
        self._detector: Detector | None = None
        self._tagger: PosTagger | None = None

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        settings = {
            "part": "hvpnet.grounded_objects.v1",
            "model": model_identity(self.model),
            "revision": self.revision,
            "tagger": self.tagger and model_identity(self.tagger),
            "max_objects": self.max_objects,
            "threshold": self.threshold,
            "overlap": self.overlap,
        }
        return json.dumps(settings, sort_keys=True)

    def key(self, x: Example) -> str:
        photos = [picture_key(image) for image in x.images]
        return hashlib.sha256(json.dumps([x.tokens, photos]).encode("utf-8", "surrogatepass")).hexdigest()

    def check_there(self) -> None:
        for model in self._models():
            model.check(*model.needs)

    def check_computable(self) -> None:
        check_available(*self._models())

    def _models(self) -> list[Pretrained]:
        from mmkit_hvpnet.detector import detection_model
        from mmkit_hvpnet.phrases import tagging_model

        taggers = [tagging_model(self.tagger)] if self.tagger else []
        return [detection_model(self.model, self.revision), *taggers]

    def prepare(self, device: str) -> None:
        from mmkit_hvpnet.detector import Detector  # transformers is imported only when a result is missing
        from mmkit_hvpnet.phrases import PosTagger

        if self._detector is None:
            self._tagger = PosTagger(self.tagger, device) if self.tagger else None
            self._detector = Detector(self.model, self.revision, device)

    def annotate(self, batch: Sequence[Example]) -> list[dict[str, Any]]:
        """For each example its objects (`{"image", "box", "phrase", "score"}`) and the unreadable photos.

        `image` is a photo's position among the example's images.
        """
        return [self._grounded(example) for example in batch]

    def apply(self, x: Example, result: dict[str, Any]) -> Example:
        """`x` with its objects after its images, and a note that describes them."""
        self.remember(x.images, result["unreadable"])
        objects = [
            Image(x.images[found["image"]].path, "object", tuple(found["box"])) for found in result["objects"]
        ]
        for image, found in zip(objects, result["objects"], strict=True):
            self._write_crop(image, found["score"])
        described = [{k: found[k] for k in ("phrase", "score", "box")} for found in result["objects"]]
        return replace(x, images=(*x.images, *objects), notes={**x.notes, NOTE: described})

    def finish(self) -> None:
        """Report photos that could not be read, and write the crop table."""
        super().finish()
        if self.crops is not None:
            self._write_table(self.crops / TABLE)

    def _grounded(self, example: Example) -> dict[str, Any]:
        from mmkit_hvpnet.detector import most_salient

        assert self._detector is not None, "prepare() comes first"
        phrases = self._phrases(example)
        photos = [(number, image) for number, image in enumerate(example.images) if image.role == "photo"]
        found: list[tuple[int, Found]] = []
        unreadable: list[list[Any]] = []
        for number, picture in self.opened(photos if phrases else [], unreadable):
            objects = self._detector(picture, phrases, self.threshold)
            found += [(number, o) for o in most_salient(objects, self.max_objects, self.overlap)]
        found = sorted(found, key=lambda pair: -pair[1].score)[: self.max_objects]
        described = [
            {"image": number, "box": list(o.box), "phrase": o.phrase, "score": round(o.score, 4)}
            for number, o in found
        ]
        return {"objects": described, "unreadable": unreadable}

    def _phrases(self, example: Example) -> list[str]:
        from mmkit_hvpnet.phrases import stop_word_phrases, tagged_phrases

        if self._tagger is None:
            return stop_word_phrases(example.tokens)
        return tagged_phrases(example.tokens, self._tagger(example.tokens))

    def _write_crop(self, image: Image, score: float) -> None:
        """Write an object as an image, unless the file exists, and remember it for the table."""
        if self.crops is None or image.path is None or image.box is None:
            return
        photo = Path(image.path)
        name = f"{photo.stem}_{'_'.join(str(int(side)) for side in image.box)}.jpg"
        if not (self.crops / name).exists():
            with atomic(self.crops / name, "wb") as file:
                open_image(image).save(file, format="JPEG", quality=95)
        self._table.setdefault(photo.name, {})[name] = score

    def _write_table(self, path: Path) -> None:
        """Write the crops of this and of earlier splits: photo's file name → crop files, best first."""
        with explained(path):
            table = json.loads(path.read_bytes()) if path.exists() else {}
        for photo, crops in self._table.items():
            table[photo] = sorted(crops, key=lambda name: -crops[name])
        write_json(path, table)
