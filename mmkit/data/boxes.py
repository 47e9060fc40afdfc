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
    boxes = [box for box in boxes if box[1] in sizes]
    shares = [box for box in boxes if is_fraction(box[2], sizes[box[1]])]
    others = [box for box in boxes if not is_fraction(box[2], sizes[box[1]])]
    turned = [box for box in others if box[2][2] <= box[2][0] or box[2][3] <= box[2][1]]
    straight = [box for box in others if not (box[2][2] <= box[2][0] or box[2][3] <= box[2][1])]
    outside = [box for box in straight if whole_pixels(box[2], sizes[box[1]]) is None]
    kinds = (
        ("a box in fractions of the image", shares, _in_pixels),
        ("a box that ends before it begins", turned, _as_corners),
        ("a box outside the image", outside, _nothing),
    )
    for what, wrong, meant in kinds:
        if wrong:
            advice = meant(wrong, sizes)
            yield Problem(
                f"{counted(len(wrong), *have)} {what} ({_shown(*wrong[0][1:], sizes)})",
                [at for at, *_ in wrong],
                f"{A_BOX}; {advice}" if advice else A_BOX,
                code="image.box",
                level=level,
            )


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


def _nothing(boxes: Sequence[Placed], sizes: Mapping[str, Size]) -> str:
    return ""


def _fits(left: float, top: float, width: float, height: float, size: Size) -> bool:
    """Whether a box inside an image of this size has this corner and these sides."""
    return min(width, height) > 0 and left + width <= size[0] + 1 and top + height <= size[1] + 1


def _shown(path: str, box: Box, sizes: Mapping[str, Size]) -> str:
    width, height = sizes[path]
    return f"{[round(side, 3) for side in box]} in {tidy(path)}, which has {width} × {height} pixels"
