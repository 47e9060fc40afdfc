"""How far boxes overlap."""

from __future__ import annotations

from collections.abc import Iterable

from mmkit.data.types import Box, Region


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in real coordinates: a box from 0 to 10 is 10 wide."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def best_iou(found: Region, right: Iterable[Region]) -> float:
    """The overlap of a region with the one of `right`, in the same image, that it overlaps most; 0 if there is none."""
    return max((iou(found.box, other.box) for other in right if other.image == found.image), default=0.0)
