"""Small copies of images for a report: inside the page up to a limit, beside it from there on."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from mmkit import Image, ImageError
from mmkit.data.images import open_image
from mmkit.tasks.notebook import SIDE

QUALITY = 70
LIMIT = 24_000_000
"""Bytes of images inside a page."""


@dataclass
class Thumbnails:
    """Copies of images, each once. `records` is what the page needs of them, by number.

    Copies inside the page take at most `limit` bytes together; the next are written into `folder`, which is named
    relative to the page. An image that cannot be read is a record with the reason.
    """

    folder: Path
    limit: int = LIMIT
    records: list[dict[str, Any]] = field(default_factory=list)
    inside: int = 0
    beside: int = 0
    _known: dict[tuple[object, ...], int] = field(default_factory=dict)

    def add(self, image: Image, side: int = SIDE) -> int | None:
        """The number of an image's record; None for a blank image."""
        if image.path is None:
            return None
        key = (image.path, image.box, side)
        if key not in self._known:
            self._known[key] = len(self.records)
            self.records.append(self._record(image, side))
        return self._known[key]

    def _record(self, image: Image, side: int) -> dict[str, Any]:
        name = {"name": image.path}
        try:
            picture = open_image(image)
        except ImageError as error:
            return {**name, "error": error.what}
        size = {"width": picture.width, "height": picture.height}
        small = _jpeg(picture, side)
        if self.inside + len(small) <= self.limit:
            self.inside += len(small)
            return {**name, **size, "src": f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"}
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{len(self.records) - 1:06}.jpg"
        file.write_bytes(small)
        self.beside += 1
        return {**name, **size, "src": f"{self.folder.name}/{file.name}"}


def _jpeg(picture: Pillow.Image, side: int) -> bytes:
    picture.thumbnail((side, side))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()
