"""Files of a model that are not what they should be: what they are instead, told from their first bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEAD = 4096
"""Bytes that are read."""

AGAIN = "copy or download it again, and compare its size with the original's size"


class BadFile(Exception):  # noqa: N818 - it says what the file is
    """A file that is not what it should be: `what` says what it is, `hint` says what to do.

    `kind` is `missing`, `empty`, `foreign` (another kind of file), `damaged`, `code` (it asks to run code) or
    `bomb` (it unpacks to far more than it is).
    """

    def __init__(self, path: Path, kind: str, what: str, hint: str = AGAIN) -> None:
        super().__init__(f"{path.name} {what}")
        self.path, self.kind, self.what, self.hint = path, kind, what, hint


@dataclass(frozen=True)
class Look:
    """A kind of file that is neither PyTorch's nor safetensors': what it is, and what to do."""

    what: str
    hint: str


LFS = Look(
    "is a Git LFS pointer, not the file itself",
    "download the file: `git lfs install`, then `git lfs pull` in that folder; or download it from the model's page",
)
HTML = Look(
    "is a web page (HTML), not the file itself",
    "download the file itself: on the Hub, use the address with /resolve/ instead of /blob/",
)
SAID = Look(
    "is plain text, not the file itself",
    "is it a server's answer? read it, and download the file again",
)

MAGIC: tuple[tuple[bytes, Look], ...] = (
    (b"version https://git-lfs.github.com/spec/", LFS),
    (b"GGUF", Look("is a GGUF file (llama.cpp's)", "take the same model's folder with model.safetensors")),
    (
        b"\x89HDF\r\n\x1a\n",
        Look("is an HDF5 file (TensorFlow's weights)", "take PyTorch's or safetensors' weights"),
    ),
    (b"\x93NUMPY", Look("is a NumPy array", "take PyTorch's or safetensors' weights")),
    (b"\x1f\x8b", Look("is packed with gzip", "unpack it first")),
    (b"BZh", Look("is packed with bzip2", "unpack it first")),
    (b"\xfd7zXZ\x00", Look("is packed with xz", "unpack it first")),
    (b"7z\xbc\xaf\x27\x1c", Look("is a 7z archive", "unpack it first")),
    (b"Rar!", Look("is a RAR archive", "unpack it first")),
    (b"\x28\xb5\x2f\xfd", Look("is packed with zstd", "unpack it first")),
    (b"%PDF", Look("is a PDF", AGAIN)),
    (b"\x89PNG", Look("is an image", AGAIN)),
    (b"\xff\xd8\xff", Look("is an image", AGAIN)),
)


def regular(path: Path) -> int:
    """The size of a file. Raises `BadFile` if it is missing, empty, or no regular file."""
    try:
        if not path.is_file():
            if path.is_symlink() and not path.exists():
                raise BadFile(path, "missing", f"is a link to {path.readlink()}, which does not exist")
            there = path.exists()
            raise BadFile(
                path, "foreign" if there else "missing", "is not a file" if there else "is not there"
            )
        size = path.stat().st_size
    except OSError as error:
        raise BadFile(path, "damaged", f"cannot be read: {error.strerror}", "check its path") from error
    if size == 0:
        raise BadFile(path, "empty", "is empty (0 bytes)")
    return size


def head(path: Path, count: int = HEAD) -> bytes:
    """The first bytes of a file. Raises `BadFile` as `regular` does."""
    regular(path)
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise BadFile(
            path, "damaged", f"cannot be read: {error.strerror}", "check its permissions"
        ) from error


def foreign(first: bytes) -> Look | None:
    """What a file is, from its first bytes, if it is certainly neither weights nor JSON."""
    for magic, look in MAGIC:
        if first.startswith(magic):
            return look
    start = first.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<!--")):
        return HTML
    if start.startswith((b"<?xml", b"<error")):
        return Look("is an XML document, not the file itself", SAID.hint)
    if len(first) >= 64 and not first.strip(b"\0"):
        return Look("begins with zeros only, as after an interrupted download", AGAIN)
    return None


def is_text(first: bytes) -> bool:
    """Whether bytes are printable text in UTF-8."""
    try:
        text = first.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(first) - 4 or error.start == 0:
            return False
        text = first[: error.start].decode("utf-8")
    return all(c.isprintable() or c in "\t\r\n" for c in text)


def check_not_foreign(path: Path) -> None:
    """Raise `BadFile` for a file that is certainly neither weights nor JSON: a pointer, a web page, an archive."""
    if look := foreign(head(path)):
        raise BadFile(path, "foreign", look.what, look.hint)


def read_json_file(path: Path, limit: int = 256 << 20) -> dict[str, Any]:
    """The object in a JSON file. Raises `BadFile` for anything else and says what it is."""
    check_not_foreign(path)
    if path.stat().st_size > limit:
        raise BadFile(
            path,
            "foreign",
            f"is larger than {limit >> 20} MiB, too large for such a file",
            "is it the right file?",
        )
    try:
        content = json.loads(path.read_bytes())
    except UnicodeDecodeError as error:
        raise BadFile(path, "damaged", "is not text in UTF-8", AGAIN) from error
    except RecursionError as error:
        raise BadFile(path, "damaged", "is JSON nested too deeply", AGAIN) from error
    except ValueError as error:
        if not head(path).lstrip().startswith((b"{", b"[")) and is_text(head(path)):
            raise BadFile(path, "foreign", SAID.what, SAID.hint) from error
        raise BadFile(path, "damaged", f"is not valid JSON ({error})", AGAIN) from error
    if not isinstance(content, dict):
        raise BadFile(
            path, "foreign", f"holds a {type(content).__name__}, not an object", "is it the right file?"
        )
    return content
