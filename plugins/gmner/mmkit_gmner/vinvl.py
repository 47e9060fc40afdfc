"""Regions that a detector found in photos before, one `npz` file for each: the form of VinVL's, which H-Index reads."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mmkit.data.regular import open_regular
from mmkit.data.types import Box
from mmkit.errors import DataError, one_line, printable

OVER = 0.02
"""By what share of the photo's side a region may reach over its edge."""

LARGEST = 16_000_000
"""Bytes of an array; 2,048 numbers for each of 100 regions take 819,200."""

Proposal = tuple[Box, str, float]
"""A box in pixels of the photo, what it shows, and the detector's confidence."""


def region_file(folder: Path, photo: str) -> Path:
    """The file of a photo: `<id>.jpg.npz`, whatever the photo's own ending is."""
    return folder / f"{Path(photo).stem}.jpg.npz"


def read_regions(path: Path, size: tuple[int, int]) -> list[Proposal]:
    """The regions of a photo of `size` (width, height), in the order of the file.

    `bounding_boxes [n, 4]` are pixels of the photo; `num_boxes`, `scores [n]` and `objects [n]` may be missing.
    Nothing in the file is executed, and no array of more than `LARGEST` bytes is read. Raises `DataError` for another
    file, and for boxes outside the photo: they are of a copy of another size.
    """
    found = _arrays(path, ("num_boxes", "bounding_boxes", "scores", "objects"))
    boxes = _boxes(found, size, path)
    number = len(boxes)
    scores = _scores(found["scores"], number, path) if "scores" in found else [1.0] * number
    names = _names(found.get("objects"), number, path)
    return [
        ((left, top, right, bottom), name, score)
        for (left, top, right, bottom), name, score in zip(boxes.tolist(), names, scores, strict=True)
        if left < right and top < bottom
    ]


def read_features(path: Path, size: tuple[int, int], width: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """The boxes `[n, 4]` of a photo of `size` (width, height), cut at its edges, and their features `[n, width]`.

    Both are in the order of the file, whose `box_features` have at least as many rows as it has boxes. Raises
    `DataError` as `read_regions` does, and for features of another width.
    """
    found = _arrays(path, ("num_boxes", "bounding_boxes", "box_features"))
    boxes = _boxes(found, size, path)
    features = found.get("box_features")
    if features is None:
        raise _wrong(path, "it has no `box_features`")
    if features.ndim != 2 or len(features) < len(boxes):
        raise _wrong(
            path, f"its `box_features` have the shape {list(features.shape)}, for {len(boxes)} boxes"
        )
    if features.shape[1] != width:
        raise DataError(
            f"its `box_features` have {features.shape[1]:,} numbers each, but the encoder reads {width:,}",
            where=path,
            hint=f"set width = {features.shape[1]} in the encoder's section, if all files are like this one",
            code="gmner.regions",
        )
    largest = np.finfo(np.float32).max
    numbers = _numbers("box_features", features[: len(boxes)], path)
    if len(numbers) and np.abs(numbers).max() > largest:
        raise _wrong(path, f"its `box_features` have numbers beyond {largest:.1e}")
    return boxes, numbers.astype(np.float32)


def _boxes(found: dict[str, NDArray[Any]], size: tuple[int, int], path: Path) -> NDArray[np.float64]:
    """The boxes of a photo of `size` (width, height), cut at its edges, in the order of the file."""
    boxes = found.get("bounding_boxes")
    if boxes is None or boxes.ndim != 2 or boxes.shape[1] != 4:
        raise _wrong(path, "it has no `bounding_boxes` of four numbers each")
    boxes = _numbers("bounding_boxes", boxes, path)
    number = min(len(boxes), _count(found["num_boxes"], path)) if "num_boxes" in found else len(boxes)
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
    cut: NDArray[np.float64] = np.clip(boxes[:number], 0, edges)
    return cut


def _arrays(path: Path, wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays that are needed, without names that are pickled."""
    found: dict[str, NDArray[Any]] = {}
    try:
        with open_regular(path) as opened, zipfile.ZipFile(opened) as file:
            there = set(file.namelist())
            for name in (name for name in wanted if f"{name}.npy" in there):
                with file.open(f"{name}.npy") as member:
                    pickled = _pickled(name, member, path)
                if pickled and name == "objects":
                    continue
                if pickled:
                    raise _wrong(path, f"its `{name}` are Python objects, not numbers")
                with file.open(f"{name}.npy") as member:
                    found[name] = npy.read_array(member, allow_pickle=False)
        return found
    except DataError:
        raise
    except Exception as error:  # a damaged archive or header raises almost anything
        raise _wrong(path, f"it cannot be read: {one_line(error)}") from error


def _pickled(name: str, member: IO[bytes], path: Path) -> bool:
    """Whether an array holds Python objects. Raises `DataError` for one whose header says that it is too large."""
    version = npy.read_magic(member)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise _wrong(path, f"its `{name}` are in version {version[0]}.{version[1]} of NumPy's format")
    shape, _, dtype = read(member)
    if min(shape, default=0) < 0 or math.prod(shape) * max(dtype.itemsize, 1) > LARGEST:
        raise _wrong(path, f"its `{name}` have the shape {list(shape)}, which is too much for one photo")
    return bool(dtype.hasobject)


def _numbers(name: str, array: NDArray[Any], path: Path) -> NDArray[np.float64]:
    """The array as floats: those without a sign cannot be negated."""
    if array.dtype.kind not in "fiu":
        raise _wrong(path, f"its `{name}` are {array.dtype}, not numbers")
    numbers: NDArray[np.float64] = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise _wrong(path, f"its `{name}` are not all finite numbers")
    return numbers


def _count(array: NDArray[Any], path: Path) -> int:
    numbers = _numbers("num_boxes", array, path)
    if numbers.size != 1 or numbers.item() < 0 or not numbers.item().is_integer():
        raise _wrong(path, "its `num_boxes` is not one whole number from 0 on")
    return int(numbers.item())


def _scores(array: NDArray[Any], number: int, path: Path) -> list[float]:
    if array.ndim != 1 or len(array) < number:
        raise _wrong(path, f"its `scores` have the shape {list(array.shape)}, for {number} boxes")
    scores: list[float] = _numbers("scores", array[:number], path).tolist()
    return scores


def _names(array: NDArray[Any] | None, number: int, path: Path) -> list[str]:
    if array is None or array.ndim != 1 or len(array) < number:
        return [""] * number
    if array.dtype.kind == "S":
        return [printable(name.decode("utf-8", "replace")) for name in array[:number].tolist()]
    try:
        return [printable(str(name)) for name in array[:number].tolist()]
    except (ValueError, SystemError) as error:  # code points that no text can have
        raise _wrong(path, f"its `objects` cannot be read: {one_line(error)}") from error


def _wrong(path: Path, what: str) -> DataError:
    return DataError(
        what,
        where=path,
        hint="a photo's regions are an npz file as VinVL's detector gives it",
        code="gmner.regions",
    )
