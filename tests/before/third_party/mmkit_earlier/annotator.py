"""`earlier.centre.v1`: the middle of a photo as an object picture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mmkit.annotators.base import Annotator
from mmkit.data.images import content_key, open_image
from mmkit.data.types import Example, Image

NOTE = "earlier.centre"


class Centre(Annotator):
    """Adds the middle `share` of each example's first photo as an object picture, and notes its box."""

    def __init__(self, share: float = 0.5) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {share}")
        self.share = share

    def fingerprint(self) -> str:
        return json.dumps({"part": "earlier.centre.v1", "share": self.share})

    def key(self, x: Example) -> str:
        photo = _photo(x)
        return "" if photo is None else hashlib.sha256(content_key(photo).encode()).hexdigest()

    def annotate(self, batch: Sequence[Example]) -> list[Any]:
        results = []
        for x in batch:
            photo = _photo(x)
            assert photo is not None  # its key was empty
            width, height = open_image(photo).size
            across, down = width * (1 - self.share) / 2, height * (1 - self.share) / 2
            results.append({"box": [across, down, width - across, height - down]})
        return results

    def apply(self, x: Example, result: Any) -> Example:
        photo, box = _photo(x), tuple(result["box"])
        assert photo is not None
        added = Image(photo.path, "object", box)
        return replace(x, images=(*x.images, added), notes={**x.notes, NOTE: result["box"]})


def _photo(x: Example) -> Image | None:
    photos = (image for image in x.images if image.role == "photo" and image.path is not None)
    return next(photos, None)
