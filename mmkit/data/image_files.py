"""Image files from anywhere: which may be opened, with limits on size, and what a file is if it is not an image."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from collections.abc import Iterator
from functools import cache
from typing import IO

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from mmkit.data.image_paths import why_missing
from mmkit.errors import ImageError
from mmkit.files import without_root

MAX_PIXELS = 64_000_000
"""Images with more pixels are refused by their header, before a pixel is decoded (and takes 3 bytes)."""

MAX_BYTES = 8 * MAX_PIXELS
"""Images in memory are refused if their files have more bytes: as many as so many pixels of four channels with 16 bits
take without compression."""

MAX_RATIO = 500
"""Images whose longer side is more than this many times the shorter are refused: resizing would make them larger by
this factor."""

MAX_SCANS = 30
"""Progressive JPEGs have some ten scans, each of which takes as long as decoding all pixels, however short it is."""

MAX_SCANNED = 2_000_000_000
"""Pixels of a progressive JPEG times its scans, where it has more scans than that."""

NOT_RASTER = frozenset({"BUFR", "EPS", "FITS", "FPX", "GRIB", "HDF5", "IPTC", "MIC", "MPEG", "PDF", "WMF"})
"""Formats of Pillow that start another program, hold no pixels of their own, or are stubs."""

COMMON = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Formats that are tried first: some of the others accept almost any file."""

HEIF_HINT = "install pillow-heif (pip install pillow-heif), or convert the image to JPEG"

# Pillow warns of odd metadata without naming the file. What is wrong with a file is told by name instead.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Pillow.DecompressionBombWarning)


@contextlib.contextmanager
def opened(path: str) -> Iterator[Pillow.Image]:
    """The image with its header read, found to be a regular file, of a raster format and within the bounds.

    Raises `ImageError` that says what the file is where it is not an image.
    """
    with _regular(path) as file, _within_bounds(file, path) as picture:
        yield picture


@contextlib.contextmanager
def opened_bytes(content: bytes, name: str) -> Iterator[Pillow.Image]:
    """The same of a file in memory, which errors call `name`."""
    if not content:
        raise ImageError("the image file is empty (0 bytes)", where=name, code="image.empty")
    check_bytes(len(content), name)
    with io.BytesIO(content) as file, _within_bounds(file, name) as picture:
        yield picture


def check_bytes(size: int, name: str) -> None:
    """Raise `ImageError` if the file of an image in memory has more bytes than `MAX_BYTES`."""
    if size > MAX_BYTES:
        raise ImageError(
            f"the image file has more than {MAX_BYTES // 1_000_000} MB",
            where=name,
            hint="scale it down, or save it as JPEG",
            code="image.too-large",
        )


@contextlib.contextmanager
def _within_bounds(file: IO[bytes], path: str) -> Iterator[Pillow.Image]:
    try:
        picture = Pillow.open(file, formats=raster_formats())
        _check_size(picture, path)
        _check_scans(picture, file, path)
    except ImageError:
        raise
    except Pillow.DecompressionBombError:
        raise _too_large(path) from None
    except UnidentifiedImageError as error:
        raise no_picture(file, path) from error
    except Exception as error:  # a broken header makes Pillow raise almost anything
        raise broken(path, error) from error
    with picture:
        yield picture


@cache
def raster_formats() -> tuple[str, ...]:
    """Names of the formats that are read: Pillow's without `NOT_RASTER`, and HEIF where pillow-heif is installed."""
    Pillow.init()
    _register_heif()
    first = [name for name in COMMON if name in Pillow.OPEN]
    return (*first, *sorted(Pillow.OPEN.keys() - NOT_RASTER - set(first)))


def _register_heif() -> None:
    if "HEIF" in Pillow.OPEN:
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()


def _regular(path: str) -> IO[bytes]:
    """The opened file. Pipes and devices are refused, because reading them could wait for ever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise unreadable(path, IsADirectoryError())
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(
                "this is not a regular file", where=path, hint="name an image file", code="image.not-a-file"
            )
        if status.st_size == 0:  # also files of /proc, which have no size and may never end
            raise ImageError("the image file is empty (0 bytes)", where=path, code="image.empty")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_size(picture: Pillow.Image, path: str) -> None:
    sizes = [picture.size]
    icon = getattr(picture, "ico", None)
    if icon is not None:  # an icon's own size is another than that of the image inside it
        sizes += [icon.frame(i).size for i in range(len(icon.entry))]
    for width, height in sizes:
        if width * height > MAX_PIXELS:
            raise _too_large(path)
        if max(width, height) > MAX_RATIO * min(width, height):
            raise ImageError(
                f"the image is {width} × {height} pixels, which is too long and thin",
                where=path,
                hint=f"cut it, so that one side is at most {MAX_RATIO} times the other",
                code="image.too-thin",
            )


def _check_scans(picture: Pillow.Image, file: IO[bytes], path: str) -> None:
    """Refuse a progressive JPEG that is made of so many scans that it takes minutes."""
    if not picture.info.get("progressive"):
        return
    at = file.tell()
    file.seek(0)
    scans, last = 0, b""
    while block := file.read(1 << 20):
        scans += (last + block).count(b"\xff\xda")  # pixels never look like this marker
        last = block[-1:]
    file.seek(at)
    if scans > MAX_SCANS and scans * picture.width * picture.height > MAX_SCANNED:
        raise ImageError(
            f"the image is made of {scans} scans, which would take long to decode",
            where=path,
            hint="save it anew",
            code="image.too-large",
        )


def no_picture(file: IO[bytes], path: str) -> ImageError:
    """What kind of file it is, by its first bytes, if Pillow cannot identify it."""
    try:
        file.seek(0)
        head = file.read(1024)
    except (OSError, ValueError):
        head = b""
    what, hint = kind_of(head)
    said = f"the file is {what}" if what else "the file is not an image of a known format"
    return ImageError(said, where=path, hint=hint, code="image.format")


def kind_of(head: bytes) -> tuple[str, str]:
    """What a file that begins with `head` is, and what to do about it; empty strings where that is not known."""
    if head[4:8] == b"ftyp":
        return _of_brand(head[8:12])
    for start, what, hint in _STARTS:
        if head.startswith(start):
            return what, hint
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page, not an image", "the download gave an error page: download the image again"
    if text.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")):
        if b"<svg" in text or text.startswith(b"<!doctype svg"):
            return "an SVG drawing, which has no pixels", "convert it to PNG"
        return "an XML file, not an image", "download the image again"
    if text.startswith((b"{", b"[")):
        return "JSON, not an image", "the download gave an error message: download the image again"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the image itself", "download the images with git lfs pull"
    if head and not any(byte < 9 or 14 <= byte < 32 for byte in head):
        return "text, not an image", "download the image again"
    return "", ""


def _of_brand(brand: bytes) -> tuple[str, str]:
    """The kind of a file of the ISO media family, by its brand."""
    if brand in (b"avif", b"avis"):
        return (
            "an AVIF image, which this Pillow cannot decode",
            "install a newer Pillow, or convert it to JPEG",
        )
    if brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        return "a HEIC image (HEIF, as phones make them), which Pillow cannot decode", HEIF_HINT
    return "a video, not an image", "take a frame of it as JPEG"


_STARTS = (
    (b"%PDF", "a PDF document, not an image", "convert its page to PNG"),
    (b"%!PS", "an EPS drawing, which is a program and is not run", "convert it to PNG"),
    (b"\xc5\xd0\xd3\xc6", "an EPS drawing, which is a program and is not run", "convert it to PNG"),
    (b"PK\x03\x04", "a ZIP archive, not an image", "unpack it"),
    (b"\x1f\x8b", "a gzip archive, not an image", "unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive, not an image", "unpack it"),
    (b"Rar!", "a RAR archive, not an image", "unpack it"),
    (b"\x1aE\xdf\xa3", "a video, not an image", "take a frame of it as JPEG"),
    (b"\xd7\xcd\xc6\x9a", "a WMF drawing, which has no pixels", "convert it to PNG"),
    (b"\x93NUMPY", "a NumPy array, not an image", "save it as PNG"),
    (b"\x89HDF", "an HDF5 file, not an image", "save its images as PNG"),
)


def unreadable(path: str, error: Exception) -> ImageError:
    """The error of a file that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        where = without_root(path)
        return ImageError("no such image", where=where, hint=why_missing(path), code="image.missing")
    if isinstance(error, IsADirectoryError):
        return ImageError(
            "this is a folder, not an image file",
            where=path,
            hint="name an image file",
            code="image.not-a-file",
        )
    if isinstance(error, OSError) and error.strerror:
        return ImageError(f"the image cannot be read: {error.strerror}", where=path, code="image.unreadable")
    return ImageError(f"the image cannot be read: {error}", where=path, code="image.unreadable")


def broken(path: str, error: Exception) -> ImageError:
    """The error of an image that cannot be decoded."""
    return ImageError(
        f"the image is broken: {error or type(error).__name__}", where=path, code="image.broken"
    )


def _too_large(path: str) -> ImageError:
    return ImageError(
        f"the image has more than {MAX_PIXELS // 1_000_000} megapixels",
        where=path,
        hint="scale it down",
        code="image.too-large",
    )
