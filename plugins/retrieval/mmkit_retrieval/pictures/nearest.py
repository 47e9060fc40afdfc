"""Nearest neighbours by inner product, in faiss files (Douze et al., 2024) that are never loaded as a whole.

There are two kinds. Flat files hold each vector in float16, and every search reads all of them. Inverted lists of
product-quantized residuals are for a million vectors and more: they need one byte for 8 dimensions, and a search reads
some of the lists. The caller should rank what they find again with the exact vectors. Both kinds are written in several
files, so that building needs about `PART_BYTES` of memory.
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
"""A function from ascending rows `[N]` to their vectors `[N, D]` in float32."""

PART_BYTES = 1 << 28
STEP = 1 << 14
"""How many vectors are added at once."""
SAMPLE = 40
"""How many vectors for each list are used to train its centre; faiss asks for 39."""
LEAST = 1024
"""The least number of vectors on which a product quantizer of 256 centres is trained."""
SUB = 8
"""How many dimensions share one byte."""


def build(
    folder: Path,
    stem: str,
    kind: Kind,
    rows: Rows,
    shape: tuple[int, int],
    lists: int | None = None,
) -> dict[str, int]:
    """Write the files `<stem>-<part>.faiss`, and return their checksums by name.

    Args:
        rows: gives the vectors to index, by row.
        shape: (number of vectors, D).
        lists: how many inverted lists; by default the square root of the number of vectors.
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
    """The files that `build` wrote, in their order, memory-mapped."""

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
        """Rows `[N, count]` of vectors near each query `[N, D]`, unordered. -1 stands for "none".

        There are fewer columns if the index has fewer vectors. `probes` inverted lists are searched for each query, and
        more if these contain too few vectors.
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
    """The settings of an index as JSON. If two are equal, the same vectors are indexed in the same way."""
    return json.dumps([kind, *((lists or math.isqrt(count), SUB) if kind == "ivfpq" else ())])


def _empty(kind: Kind, width: int, lists: int) -> tuple[Any, int]:
    """An index without vectors, and how many bytes each vector will take."""
    faiss = _faiss()
    if kind == "flat":
        return faiss.index_factory(width, "SQfp16", faiss.METRIC_INNER_PRODUCT), 2 * width
    pieces = next(n for n in range(max(1, width // SUB), 0, -1) if width % n == 0)
    # np: without polysemous codes. They are a filter that is not used here and takes minutes to train.
    index = faiss.index_factory(width, f"IVF{lists},PQ{pieces}np", faiss.METRIC_INNER_PRODUCT)
    # no warnings about small samples
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
    return index, pieces + 8


def _write(index: Any, path: Path) -> None:
    with replacing(path, DataError) as temporary:
        try:
            _faiss().write_index(index, str(temporary))
        except RuntimeError as error:
            raise OSError(f"faiss: {error}") from error


def _faiss() -> Any:
    """The module faiss, imported when it is first needed. Any: most of its classes have no type hints."""
    import faiss

    return faiss
