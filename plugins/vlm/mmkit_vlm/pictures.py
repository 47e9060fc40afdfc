"""Pictures as data URIs of limited size."""

from __future__ import annotations

import base64
import io
from functools import lru_cache

from PIL import Image as Pillow

from mmkit.data.images import content_key, open_image
from mmkit.data.types import Image
from mmkit.errors import ImageError

JPEG = "data:image/jpeg;base64,"
"""How the data URI of a photo begins."""
QUALITIES = (85, 70, 50, 30)
"""JPEG qualities that are tried until a picture is small enough; then its sides are halved."""


def data_uri(image: Image, most_side: int, most_bytes: int) -> str:
    """An image as `data:image/jpeg;base64,...`: its longer side has at most `most_side` pixels, the file `most_bytes`.

    Raises `ImageError` for an image that cannot be read.
    """
    return _made(content_key(image), image, most_side, most_bytes)


@lru_cache(maxsize=100)
def _made(_content: str, image: Image, most_side: int, most_bytes: int) -> str:
    picture = open_image(image)
    side = most_side
    while side:
        shown = picture.copy()
        shown.thumbnail((side, side), Pillow.Resampling.LANCZOS)
        for quality in QUALITIES:
            file = io.BytesIO()
            shown.save(file, "JPEG", quality=quality)
            if len(file.getvalue()) <= most_bytes:
                return f"{JPEG}{base64.b64encode(file.getvalue()).decode()}"
        side //= 2
    raise ImageError("the image cannot be made small enough", where=image.path, code="vlm.picture-size")


def pictures_of(
    images: tuple[Image, ...], number: int, most_side: int, most_bytes: int
) -> tuple[tuple[str, ...], int]:
    """The first photos that have a file, as data URIs, and how many of these photos cannot be read."""
    photos = [image for image in images if image.role == "photo" and image.path is not None][:number]
    made: list[str] = []
    for photo in photos:
        try:
            made.append(data_uri(photo, most_side, most_bytes))
        except ImageError:
            continue
    return tuple(made), len(photos) - len(made)
