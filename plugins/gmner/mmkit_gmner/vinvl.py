"""Regions that a detector found in photos before, one `npz` file for each: the form of VinVL's, which H-Index reads."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkit.data.types import Box
from mmkit.errors import DataError

OVER = 0.02
"""By what share of the photo's side a region may reach over its edge."""

Proposal = tuple[Box, str, float]
"""A box in pixels of the photo, what it shows, and the detector's confidence."""


def region_file(folder: Path, photo: str) -> Path:
    """The file of a photo: `<id>.jpg.npz`, whatever the photo's own ending is."""
    return folder / f"{Path(photo).stem}.jpg.npz"


def read_regions(path: Path, size: tuple[int, int]) -> list[Proposal]:
    """The regions of a photo of `size` (width, height), in the order of the file.

    `bounding_boxes [n, 4]` are pixels of the photo; `num_boxes`, `scores [n]` and `objects [n]` may be missing.
    Nothing in the file is executed. Raises `DataError` for another file, and for boxes outside the photo: they are of
    a copy of another size.
    """
    found = _arrays(path)
    boxes = found.get("bounding_boxes")
    if (
        boxes is None
        or boxes.ndim != 2
        or boxes.shape[1] != 4
        or not np.isfinite(_numbers(boxes, path)).all()
    ):
        raise _wrong(path, "it has no `bounding_boxes` of four numbers each")
    number = min(len(boxes), int(found["num_boxes"])) if "num_boxes" in found else len(boxes)
    width, height = size
    edges = np.array([width, height, width, height], dtype=float)
    over = np.maximum(boxes[:number] - edges, -boxes[:number]) / edges
    if number and over.max() > OVER:
        raise DataError(
            f"its boxes reach over the edge of the photo, which has {width} × {height} pixels",
            where=path,
            hint="take the regions and the photos of one copy of the data",
            code="gmner.regions",
        )
    clipped = np.clip(boxes[:number].astype(float), 0, edges).tolist()
    scores = _column(found.get("scores"), number, 1.0)
    names = _column(found.get("objects"), number, "")
    return [
        ((left, top, right, bottom), str(name), float(score))
        for (left, top, right, bottom), name, score in zip(clipped, names, scores, strict=True)
        if left < right and top < bottom
    ]


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    wanted = ("num_boxes", "bounding_boxes", "scores", "objects")
    found: dict[str, NDArray[Any]] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in (name for name in wanted if name in file.files):
                with contextlib.suppress(*([ValueError] if name == "objects" else [])):  # they may be pickled
                    found[name] = file[name]
        return found
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise _wrong(path, f"it cannot be read: {error}") from error


def _numbers(array: NDArray[Any], path: Path) -> NDArray[Any]:
    if array.dtype.kind not in "fiu":
        raise _wrong(path, f"its `bounding_boxes` are {array.dtype}, not numbers")
    return array


def _column(array: NDArray[Any] | None, number: int, default: Any) -> list[Any]:
    if array is None or array.ndim != 1 or len(array) < number:
        return [default] * number
    values: list[Any] = array[:number].tolist()
    return values


def _wrong(path: Path, what: str) -> DataError:
    return DataError(
        what,
        where=path,
        hint="a photo's regions are an npz file as VinVL's detector gives it",
        code="gmner.regions",
    )
