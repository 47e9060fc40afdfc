"""Nearest neighbours by inner product in faiss files (Douze et al., 2024), built and searched without loading them.

Flat files hold every vector in float16 and are searched whole. Beyond a million vectors inverted lists of
product-quantised residuals take a byte for 8 dimensions and are searched in part; what they find is meant to be
compared again with the vectors themselves. Either comes in parts, so that building holds `PART_BYTES` at most.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmkit.errors import DataError
from mmkit.files import replacing
from mmkit_retrieval.checksums import checksum

Kind = Literal["flat", "ivfpq"]
Array = np.ndarray[Any, np.dtype[Any]]
Rows = Callable[[Array], Array]
"""Rows `[N]`, ascending, to their vectors `[N, D]` in float32."""

PART_BYTES = 1 << 28
STEP = 1 << 14
"""Vectors that are added at once."""
SAMPLE = 40
"""Vectors a list that its centre is learnt from; faiss asks for 39."""
LEAST = 1024
"""Vectors that a product quantiser of 256 centres is learnt from, at least."""
SUB = 8
"""Dimensions that share a byte."""


def build(
    folder: Path,
    stem: str,
    kind: Kind,
    rows: Rows,
    shape: tuple[int, int],
    lists: int | None = None,
) -> dict[str, int]:
    """Write the files `<stem>-<part>.faiss`; return their checksums by name.

    Args:
        rows: the vectors to index, by row.
        shape: how many there are, and D.
        lists: inverted lists, by default the square root of the number of vectors.
    """
    count, width = shape
    index, bytes_each = _empty(kind, width, lists or max(1, math.isqrt(count)))
    if not index.is_trained:
        sample = min(count, max(SAMPLE * index.nlist, LEAST))
        index.train(rows(np.arange(sample) * count // sample))
    part_size = max(STEP, PART_BYTES // bytes_each // STEP * STEP)
    checks: dict[str, int] = {}
    for first in range(0, count, STEP):
        last = min(first + STEP, count)
        index.add(rows(np.arange(first, last)))
        if last == count or index.ntotal >= part_size:
            path = folder / f"{stem}-{len(checks)}.faiss"
            _write(index, path)
            checks[path.name] = checksum(path)
            index.reset()
    return checks


class Nearest:
    """Files that `build` wrote, in their order, memory-mapped."""

    def __init__(self, paths: Sequence[Path], kind: Kind) -> None:
        faiss = _faiss()
        mapped = faiss.IO_FLAG_MMAP_IFC if kind == "flat" else faiss.IO_FLAG_MMAP
        try:
            self._parts = [faiss.read_index(str(path), mapped) for path in paths]
        except RuntimeError as error:
            raise DataError(
                "faiss cannot read its index", where=paths[0].parent, code="retrieval.index-damaged"
            ) from error
        self.kind = kind
        self._firsts = np.cumsum([0, *(part.ntotal for part in self._parts)])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def candidates(self, queries: Array, count: int, probes: int) -> Array:
        """Rows `[N, count]` of vectors near each query `[N, D]`, in no order; fewer where there are fewer, or -1.

        Inverted lists are searched `probes` at a time and, where those hold too few vectors, more.
        """
        probes = min(probes, getattr(self._parts[0], "nlist", 1))
        while True:
            found = self._search(queries, count, probes)
            enough = ((found >= 0).sum(axis=1) >= count).all()
            if enough or self.kind == "flat" or probes == self._parts[0].nlist:
                return found
            probes = min(2 * probes, self._parts[0].nlist)

    def _search(self, queries: Array, count: int, probes: int) -> Array:
        chosen = _faiss().SearchParametersIVF(nprobe=probes) if self.kind == "ivfpq" else None
        found = []
        for part, first in zip(self._parts, self._firsts, strict=False):
            scores, rows = part.search(queries, min(count, part.ntotal), params=chosen)
            found.append((scores, np.where(rows >= 0, rows + first, -1)))
        scores, rows = (np.concatenate(each, axis=1) for each in zip(*found, strict=True))
        if rows.shape[1] <= count:
            return rows
        best = np.argpartition(np.where(rows >= 0, -scores, np.inf), count - 1, axis=1)[:, :count]
        return np.take_along_axis(rows, best, axis=1)


def settings(kind: Kind, count: int, lists: int | None) -> str:
    """What tells apart two ways of indexing the same vectors, as JSON."""
    return json.dumps([kind, *((lists or math.isqrt(count), SUB) if kind == "ivfpq" else ())])


def _empty(kind: Kind, width: int, lists: int) -> tuple[Any, int]:
    """An index without vectors, and the bytes that each will take."""
    faiss = _faiss()
    if kind == "flat":
        return faiss.index_factory(width, "SQfp16", faiss.METRIC_INNER_PRODUCT), 2 * width
    pieces = next(n for n in range(max(1, width // SUB), 0, -1) if width % n == 0)
    # np: no polysemous codes, a filter that search here does not use and that takes minutes to train
    index = faiss.index_factory(width, f"IVF{lists},PQ{pieces}np", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1  # says nothing of small ones
    return index, pieces + 8


def _write(index: Any, path: Path) -> None:
    with replacing(path, DataError) as temporary:
        try:
            _faiss().write_index(index, str(temporary))
        except RuntimeError as error:
            raise OSError(f"faiss: {error}") from error


def _faiss() -> Any:
    """The module, imported when it is first needed; its own type hints lack most of its classes."""
    import faiss

    return faiss
