"""Boxes in a file of Pascal VOC (XML, as labelImg writes it), read so that a hostile file can do no harm."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from mmkit.data.regular import open_regular
from mmkit.data.types import Box
from mmkit.errors import DataError

LARGEST = 1_000_000
"""Bytes of a file; the largest of Twitter10000 has 7,000."""

DEEPEST = 20
"""Elements inside one another."""

FARTHEST = 1e9
"""Pixels that a number may say."""

SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Boxed:
    """A box and what it shows."""

    name: str
    box: Box
    line: int


@dataclass(frozen=True)
class Annotation:
    """The boxes of a photo, in pixels of a picture of `size` (width, height); None: the file gives no size."""

    size: tuple[int, int] | None
    objects: tuple[Boxed, ...]


@dataclass
class _Element:
    name: str
    line: int
    text: str = ""
    inner: list[_Element] = field(default_factory=list)

    def all(self, name: str) -> list[_Element]:
        return [element for element in self.inner if element.name == name]


def read_voc(path: Path) -> Annotation | None:
    """The boxes of a file; None if there is no such file.

    Elements that are not needed are passed over. Raises `DataError` with file and line for a file that is larger than
    `LARGEST`, is not XML, declares a document type (only there can entities be defined, so none is ever expanded, and
    nothing else is opened), or has an object without a name, or without a box of four numbers that is not empty and not
    wholly outside the picture.
    """
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"the file of boxes cannot be read: {error}", where=path, code="file.unreadable"
        ) from error
    if len(content) > LARGEST:
        raise DataError(
            f"the file has more than {LARGEST:,} bytes, which is too much for the boxes of one photo",
            where=path,
            hint="is this a file of Pascal VOC?",
            code="gmner.xml",
        )
    root = _tree(content, path)
    if root.name != "annotation":
        raise _wrong(path, root.line, f"the outermost element is <{root.name}>, not <annotation>")
    size = _size(root, path)
    return Annotation(size, tuple(_boxed(element, path, size) for element in root.all("object")))


def _tree(content: bytes, path: Path) -> _Element:
    """The elements of an XML file, each with its line."""
    parser = expat.ParserCreate()
    above = [_Element("", 0)]

    def begin(name: str, attributes: object) -> None:
        if len(above) > DEEPEST:
            raise _wrong(
                path, parser.CurrentLineNumber, f"more than {DEEPEST} elements are inside one another"
            )
        element = _Element(name, parser.CurrentLineNumber)
        above[-1].inner.append(element)
        above.append(element)

    def end(name: str) -> None:
        above.pop()

    def text(data: str) -> None:
        above[-1].text += data

    def doctype(*declared: object) -> None:
        raise _wrong(
            path,
            parser.CurrentLineNumber,
            "it declares a document type, which could define entities",
            "remove <!DOCTYPE ...>: files of boxes need none",
        )

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, doctype
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter: a codec that does not exist
        line = getattr(error, "lineno", parser.CurrentLineNumber)
        raise _wrong(path, line, f"it is not XML: {error}") from error
    return above[0].inner[0]


def _size(root: _Element, path: Path) -> tuple[int, int] | None:
    """Width and height; labelImg writes 0 where it did not know them."""
    for size in root.all("size"):
        width, height = (round(_number(size, name, path)) for name in ("width", "height"))
        if width > 0 and height > 0:
            return width, height
    return None


def _boxed(element: _Element, path: Path, size: tuple[int, int] | None) -> Boxed:
    names, boxes = element.all("name"), element.all("bndbox")
    if not names or not names[0].text.strip():
        raise _wrong(path, element.line, "an object has no <name>")
    if not boxes:
        raise _wrong(path, element.line, f"the object {names[0].text.strip()!r} has no <bndbox>")
    left, top, right, bottom = (_number(boxes[0], side, path) for side in SIDES)
    if right <= left or bottom <= top:
        raise _wrong(
            path,
            boxes[0].line,
            f"the box of {names[0].text.strip()!r} is empty: [{left:g}, {top:g}, {right:g}, {bottom:g}]",
            "xmin must be less than xmax, and ymin less than ymax",
        )
    if size is not None and (right <= 0 or bottom <= 0 or left >= size[0] or top >= size[1]):
        raise _wrong(
            path,
            boxes[0].line,
            f"the box of {names[0].text.strip()!r} is outside the picture of {size[0]} × {size[1]} pixels: "
            f"[{left:g}, {top:g}, {right:g}, {bottom:g}]",
            "correct the box, or the <size> of the picture",
        )
    return Boxed(names[0].text, (left, top, right, bottom), element.line)


def _number(element: _Element, name: str, path: Path) -> float:
    found = element.all(name)
    if not found:
        raise _wrong(path, element.line, f"<{element.name}> has no <{name}>")
    text = found[0].text.strip()
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= FARTHEST:
        raise _wrong(path, found[0].line, f"<{name}> is {text[:40]!r}, not a number of pixels")
    return number


def _wrong(
    path: Path, line: int, what: str, hint: str = "correct the file, or download it again"
) -> DataError:
    return DataError(what, where=f"{path}:{line}", hint=hint, code="gmner.xml")
