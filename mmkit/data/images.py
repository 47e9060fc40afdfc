"""Opening picture files: whatever is wrong with one is an `ImageError`, and whatever is right becomes RGB."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from mmkit.data.types import Box, Entity, Example, Image
from mmkit.errors import ImageError
from mmkit.files import tidy

MAX_PIXELS = 64_000_000
"""Pictures with more pixels are refused by their header, before a pixel is decoded (and takes 3 bytes)."""

# Pillow warns from 89 megapixels on; the limit above refuses those with a message of its own.
warnings.filterwarnings("ignore", category=Pillow.DecompressionBombWarning)


def open_image(image: Image) -> Pillow.Image:
    """The picture, or its `box`, as RGB: upright (EXIF), first frame, on white, 16 bits scaled to 8.

    `box` counts pixels of the upright picture and is clipped to it. Raises `ImageError` for a blank image,
    and for a file that is missing, empty, truncated, no picture, or larger than `MAX_PIXELS`.
    """
    if image.path is None:
        raise ImageError("a blank image has no file to open")
    with _opened(image.path) as file:
        try:
            upright = ImageOps.exif_transpose(file)
            picture = _rgb(upright)
        except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
            raise _broken(image.path, error) from error
    return picture if image.box is None else picture.crop(_clipped(image.box, picture.size, image.path))


def content_key(image: Image) -> str:
    """A hash of the file's bytes and the box, or "blank": equal keys mean equal pictures. Decodes nothing.

    Raises `ImageError` if the file is missing.
    """
    if image.path is None:
        return "blank"
    try:
        status = Path(image.path).stat()
        digest = _digest(image.path, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError) as error:
        raise _unreadable(image.path, error) from error
    return digest if image.box is None else f"{digest}:{','.join(map(repr, map(float, image.box)))}"


def whole_pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The whole pixels that `box` touches inside a picture of `size` (width, height); None where it touches none."""
    width, height = size
    if all(map(math.isfinite, box)):
        left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
        right, bottom = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
        if left < right and top < bottom:
            return left, top, right, bottom
    return None


@dataclass
class ImageReport:
    """What became of the pictures of a dataset; a file is counted once, however often it is used."""

    present: int = 0
    missing: int = 0
    empty: int = 0
    broken: int = 0
    blank: int = 0
    """Pictures without a file."""
    photos: int = 0
    """Files that are photos, not crops of them."""
    photos_missing: int = 0
    """Photos that do not exist."""
    names: dict[str, list[str]] = field(default_factory=dict)
    """The first few "missing", "empty" and "broken" files, the last with their reason."""

    @property
    def bad(self) -> int:
        """Files that cannot be used."""
        return self.missing + self.empty + self.broken

    @property
    def total(self) -> int:
        """All files."""
        return self.present + self.bad

    def counts(self) -> dict[str, int]:
        """The five counts by name."""
        return {state: getattr(self, state) for state in ("present", "missing", "empty", "broken", "blank")}

    def summary(self) -> str:
        """How many files are in which state, without their names: "9 files: 7 readable, 2 missing"."""
        states = [f"{n} {state}" for state in ("missing", "empty", "broken") if (n := self.counts()[state])]
        files = f"{self.total} file{'' if self.total == 1 else 's'}"
        readable = f"{files}: {', '.join([f'{self.present} readable', *states])}" if states else ""
        said = [readable or f"{files}, all readable"] if self.total else []
        return "; ".join(said + [f"{self.blank} blank"] * bool(self.blank)) or "none"

    def faults(self) -> str:
        """The files that cannot be used, by what is wrong: "2 missing: a.jpg, b.jpg"."""
        return "; ".join(
            f"{count} {state}: {', '.join(names)}" + (", ..." if count > len(names) else "")
            for state, names in self.names.items()
            for count in [self.counts()[state]]
        )


def scan_images(
    examples: Iterable[Example | Entity], decode: bool = False, show: int = 3, threads: int = 8
) -> ImageReport:
    """Look at every picture file: its header, or with `decode` all of its pixels."""
    images = [i for x in examples for i in x.images]
    paths = list(dict.fromkeys(i.path for i in images if i.path is not None))
    photos = {i.path for i in images if i.path is not None and i.role == "photo"}
    report = ImageReport(blank=sum(i.path is None for i in images), photos=len(photos))
    with ThreadPoolExecutor(threads) as pool:
        for path, (state, reason) in zip(paths, pool.map(lambda p: _state(p, decode), paths), strict=True):
            setattr(report, state, getattr(report, state) + 1)
            report.photos_missing += state == "missing" and path in photos
            if state != "present" and len(names := report.names.setdefault(state, [])) < show:
                names.append(f"{tidy(path)} ({reason})" if reason else tidy(path))
    return report


def _state(path: str, decode: bool) -> tuple[str, str]:
    """What an `ImageReport` calls the file, and the reason where that is "broken"."""
    try:
        if not Path(path).stat().st_size:
            return "empty", ""
    except FileNotFoundError:
        return "missing", ""
    except (OSError, ValueError) as error:
        return "broken", str(error)
    try:
        if decode:
            open_image(Image(path))
        else:
            _opened(path).close()
    except ImageError as error:
        return "broken", error.what
    return "present", ""


@lru_cache(maxsize=100_000)
def _digest(path: str, mtime_ns: int, size: int) -> str:
    """Hash of a file's bytes, remembered for as long as the file looks unchanged."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _opened(path: str) -> Pillow.Image:
    """The file with its header read and its size found small enough."""
    try:
        picture = Pillow.open(path)
    except Pillow.DecompressionBombError:
        raise _too_large(path) from None
    except FileNotFoundError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # as above: also thrown by broken headers
        if _is_empty(path):
            raise ImageError("the image file is empty (0 bytes)", where=path) from error
        raise _broken(path, error) from error
    if math.prod(picture.size) > MAX_PIXELS:
        picture.close()
        raise _too_large(path)
    return picture


def _is_empty(path: str) -> bool:
    try:
        return os.path.getsize(path) == 0  # noqa: PTH202
    except (OSError, ValueError):
        return False


def _rgb(picture: Pillow.Image) -> Pillow.Image:
    if picture.mode.startswith("I"):  # 16 bits in 16 or, as older formats are read, in 32
        values = np.asarray(picture).astype(np.float64) / 257
        return Pillow.fromarray(values.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Pillow.alpha_composite(Pillow.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _clipped(box: Box, size: tuple[int, int], path: str) -> tuple[int, int, int, int]:
    pixels = whole_pixels(box, size)
    if pixels is None:
        raise ImageError(f"the box {box} holds no pixel of a {size[0]}×{size[1]} picture", where=path)
    return pixels


def _unreadable(path: str, error: Exception) -> ImageError:
    missing = isinstance(error, FileNotFoundError)
    return ImageError("no such image" if missing else f"the image cannot be read: {error}", where=path)


def _too_large(path: str) -> ImageError:
    return ImageError(
        f"the image has more than {MAX_PIXELS // 1_000_000} megapixels", where=path, hint="scale it down"
    )


def _broken(path: str, error: Exception) -> ImageError:
    if isinstance(error, Pillow.UnidentifiedImageError):
        return ImageError("the file is not a picture of a known format", where=path)
    return ImageError(f"the image is broken: {error or type(error).__name__}", where=path)
