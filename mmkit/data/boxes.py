"""Boxes that cut nothing useful out of their image: given as `[x, y, width, height]` or fractions, or outside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mmkit.data.problems import At, Problem, counted
from mmkit.data.types import Box, Entity, Example, Image
from mmkit.files import tidy

Size = tuple[int, int]
"""Width and height of an upright image, in pixels."""

Placed = tuple[At, str, Box]
"""A box, with the record that has it and the image file."""

A_BOX = "a box is [left, top, right, bottom], in pixels of the upright image"


def whole_pixels(box: Box, size: Size) -> tuple[int, int, int, int] | None:
    """The whole pixels that `box` touches inside an image of `size` (width, height); None where it touches none."""
    width, height = size
    if all(map(math.isfinite, box)):
        left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
        right, bottom = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
        if left < right and top < bottom:
            return left, top, right, bottom
    return None


def is_fraction(box: Box, size: Size) -> bool:
    """Whether a box seems to be in fractions of an image's sides: all from 0 to 1, in an image with more pixels."""
    return all(0 <= side <= 1 for side in box) and max(size) > 1


@dataclass
class Boxes:
    """The boxes of many records, gathered before the sizes of their images are known."""

    crops: list[Placed] = field(default_factory=list)
    regions: list[Placed] = field(default_factory=list)

    def add(self, x: Example | Entity, images: Sequence[Image]) -> None:
        """Add the boxes of a record's `images`, and of the regions of its spans."""
        for image in images:
            if image.box is not None and image.path is not None:
                self.crops.append(((x.id, None), image.path, image.box))
        if isinstance(x, Example) and any(span.regions for span in x.spans):
            self.regions += _regions(x)

    def problems(self, sizes: Mapping[str, Size]) -> list[Problem]:
        """What is wrong with boxes in images whose `sizes` are known: those of crops stop training."""
        return [
            *_problems(self.crops, sizes, ("object crop has", "object crops have"), "error"),
            *_problems(self.regions, sizes, ("region of a span has", "regions of spans have"), "warning"),
        ]


def _regions(x: Example) -> Iterator[Placed]:
    for span in x.spans:
        for region in span.regions:
            path = x.images[region.image].path
            if path is not None:
                yield (x.id, span.start), path, region.box


def _problems(
    boxes: Sequence[Placed],
    sizes: Mapping[str, Size],
    have: tuple[str, str],
    level: Literal["error", "warning"],
) -> Iterator[Problem]:
    """A problem for each kind of wrong box; `have` names whose boxes they are, in singular and plural."""
    found: dict[str, list[Placed]] = {}
    for placed in boxes:
        _, path, box = placed
        if path in sizes and (fault := _fault(box, sizes[path])):
            found.setdefault(fault, []).append(placed)
    for fault, wrong in sorted(found.items(), key=lambda item: _FAULTS.index(item[0])):
        advice = _advice(fault, wrong, sizes)
        yield Problem(
            f"{counted(len(wrong), *have)} {fault} ({_shown(*wrong[0][1:], sizes)})",
            [at for at, *_ in wrong],
            f"{A_BOX}; {advice}" if advice else A_BOX,
            code="image.box",
            level="warning" if fault == _CLIPPED else level,
        )


_SHARES, _TURNED = "a box in fractions of the image", "a box that ends before it begins"
_OUTSIDE, _CLIPPED = "a box outside the image", "a box that reaches over the edge of the image"
_FAULTS = (_SHARES, _TURNED, _OUTSIDE, _CLIPPED)
"""What may be wrong with a box, in the order of the messages."""

_ROUNDING = 1
"""Pixels by which a box may reach over an edge: a rounded size, or a side that counts from 1."""


def _fault(box: Box, size: Size) -> str:
    """What is wrong with a box in an image of this size; empty if nothing is."""
    left, top, right, bottom = box
    if is_fraction(box, size):
        return _SHARES
    if right <= left or bottom <= top:
        return _TURNED
    if whole_pixels(box, size) is None:
        return _OUTSIDE
    over = max(-left, -top, right - size[0], bottom - size[1])
    return _CLIPPED if over > _ROUNDING else ""


def _advice(fault: str, wrong: Sequence[Placed], sizes: Mapping[str, Size]) -> str:
    """What boxes with this fault probably mean, or what becomes of them; empty if nothing can be said."""
    if fault == _SHARES:
        return _in_pixels(wrong, sizes)
    if fault == _TURNED:
        return _as_corners(wrong, sizes)
    return "only the part inside the image is used" if fault == _CLIPPED else ""


def _in_pixels(boxes: Sequence[Placed], sizes: Mapping[str, Size]) -> str:
    _, path, box = boxes[0]
    return f"that would be {[round(side * of, 1) for side, of in zip(box, sizes[path] * 2, strict=True)]}"


def _as_corners(boxes: Sequence[Placed], sizes: Mapping[str, Size]) -> str:
    """What the first box would be, if all of them make sense as a corner and sides."""
    if not all(_fits(*box, sizes[path]) for _, path, box in boxes):
        return ""
    left, top, width, height = boxes[0][2]
    corners = [left, top, left + width, top + height]
    return f"these look like [x, y, width, height], and the first would be {corners}"


def _fits(left: float, top: float, width: float, height: float, size: Size) -> bool:
    """Whether a box inside an image of this size has this corner and these sides."""
    return min(width, height) > 0 and left + width <= size[0] + 1 and top + height <= size[1] + 1


def _shown(path: str, box: Box, sizes: Mapping[str, Size]) -> str:
    width, height = sizes[path]
    return f"{[round(side, 3) for side in box]} in {tidy(path)}, which has {width} × {height} pixels"
