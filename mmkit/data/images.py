"""Opening image files: every problem is an `ImageError`, and every valid image becomes RGB."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from mmkit.data.boxes import A_BOX, is_fraction, whole_pixels
from mmkit.data.image_files import MAX_PIXELS, broken, opened, opened_bytes, unreadable
from mmkit.data.regular import open_regular
from mmkit.data.types import Box, Image
from mmkit.errors import ImageError

__all__ = [
    "MAX_PIXELS",
    "content_key",
    "open_bytes",
    "open_image",
    "orientation",
    "upright_rgb",
    "whole_pixels",
]

ORIENTATION = 0x0112
"""The EXIF tag that says how to rotate an image."""

BAND = 4_000_000
"""Number of pixels that are converted together, so that a conversion needs little extra memory."""

_TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}


def open_image(image: Image) -> Pillow.Image:
    """The image, or its `box`, as RGB: upright (EXIF), first frame, on white, 16 bits scaled to 8, without metadata.

    `box` counts pixels of the upright image and is clipped to it. If the EXIF or XMP data are broken, the image is
    not rotated. Raises `ImageError` for a blank image, and for a file that is missing, empty, truncated, not a
    regular file, not an image, or beyond the limits of `mmkit.data.image_files`.
    """
    if image.path is None:
        raise ImageError("a blank image has no file to open", code="image.blank")
    with opened(image.path) as file:
        picture = _decoded(file, image.path)
    return picture if image.box is None else picture.crop(_clipped(image.box, picture.size, image.path))


def open_bytes(content: bytes, name: str) -> Pillow.Image:
    """The image of a file in memory, as `open_image` gives it and with the same limits; errors call it `name`."""
    with opened_bytes(content, name) as file:
        return _decoded(file, name)


def _decoded(picture: Pillow.Image, name: str) -> Pillow.Image:
    try:
        return upright_rgb(picture)
    except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
        raise broken(name, error) from error


def upright_rgb(picture: Pillow.Image) -> Pillow.Image:
    """An opened image as RGB: upright (EXIF), first frame, on white, 16 bits scaled to 8, without metadata.

    Pillow's decoders raise almost anything for a broken file.
    """
    turn = _TURNS.get(orientation(picture) or 1)
    made = _rgb(picture if turn is None else picture.transpose(turn))
    made.info.clear()  # Pillow writes comments, which may be private, into copies that are sent or shown
    return made


def orientation(picture: Pillow.Image) -> int | None:
    """How to rotate an opened image, from 1 (not at all) to 8; None if its metadata cannot be read."""
    try:
        value = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # broken EXIF or XMP makes Pillow raise almost anything
        return None
    return value if isinstance(value, int) and 1 <= value <= 8 else None


def content_key(image: Image) -> str:
    """A hash of the file's bytes and the box, or "blank": equal keys mean equal images. Decodes nothing.

    Raises `ImageError` if the file is missing.
    """
    if image.path is None:
        return "blank"
    try:
        status = Path(image.path).stat()
        digest = _digest(image.path, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError) as error:
        raise unreadable(image.path, error) from error
    return digest if image.box is None else f"{digest}:{','.join(map(repr, map(float, image.box)))}"


@lru_cache(maxsize=100_000)
def _digest(path: str, mtime_ns: int, size: int) -> str:
    """Hash of a file's bytes, remembered as long as the file looks unchanged."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _rgb(picture: Pillow.Image) -> Pillow.Image:
    if picture.mode.startswith("I"):  # 16 bits in 16 or, as older formats are read, in 32
        return _in_bands(picture, _eight_bits)
    if picture.has_transparency_data:
        return _in_bands(picture, _on_white)
    return picture.convert("RGB")


def _in_bands(picture: Pillow.Image, convert: Callable[[Pillow.Image], Pillow.Image]) -> Pillow.Image:
    """The image, converted some rows at a time."""
    picture.load()
    width, height = picture.size
    rows = max(1, BAND // width)
    if rows >= height:
        return convert(picture)
    made = Pillow.new("RGB", picture.size)
    for top in range(0, height, rows):
        band = picture.crop((0, top, width, min(height, top + rows)))
        made.paste(convert(band), (0, top))
    return made


def _eight_bits(band: Pillow.Image) -> Pillow.Image:
    """65,535 becomes 255; the sum rounds, because no whole number is half-way between two multiples of 257."""
    values = np.asarray(band).astype(np.int32).clip(0, 65_535)
    return Pillow.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


def _on_white(band: Pillow.Image) -> Pillow.Image:
    layer = band.convert("RGBA")
    return Pillow.alpha_composite(Pillow.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _clipped(box: Box, size: tuple[int, int], path: str) -> tuple[int, int, int, int]:
    if is_fraction(box, size) and not all(side == int(side) for side in box):
        raise ImageError(
            f"the box {box} seems to be in fractions of the image: it would cut out one pixel",
            where=path,
            hint=A_BOX,
            code="image.box",
        )
    pixels = whole_pixels(box, size)
    if pixels is None:
        raise ImageError(
            f"the box {box} holds no pixel of a {size[0]}×{size[1]} image",
            where=path,
            hint=A_BOX,
            code="image.empty-box",
        )
    return pixels
