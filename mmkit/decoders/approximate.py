"""Nearly exact search among millions of entities on a CPU, through faiss (Douze et al., 2024).

Inverted files of normalised features in float16 (`IVF<lists>,SQfp16`): a query is compared with the entities of the
`probes` lists whose centres are nearest to it. The files are under `$MMKIT_CACHE/indexes/`, by the content of the
features, in parts of `PART` entities that share the centres. Building holds one part in memory; searching maps all
parts.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from mmkit.cache import cache_dir
from mmkit.decoders.cosines import best_of, check_finite
from mmkit.encoders.entity_features import EntityFeatures, content_of
from mmkit.errors import MMKitError, PartError
from mmkit.files import crc32_of, explained, read_json, written_once
from mmkit.files.ownership import check_tree
from mmkit.ops.losses import unit

FORMAT = 1
FACTS = "facts.json"
SAMPLE = 40
"""The number of entities from which a list's centre is learnt; faiss asks for 39."""
PART = 1 << 19
"""Entities that are indexed in memory before they are written."""
STEP = 1 << 14
"""Entities that are added together."""


class ApproximateIndex:
    """The nearest entities among those in lists near the query; the entities found get their exact cosine.

    More `probes` find more of the truly nearest entities and take longer.
    """

    def __init__(self, parts: Sequence[Any], entities: EntityFeatures, probes: int = 32) -> None:
        self.probes, self._parts, self._entities = probes, parts, entities

    @classmethod
    def of(cls, entities: EntityFeatures, *, lists: int | None = None, probes: int = 32) -> ApproximateIndex:
        """The index of `entities`, from the cache if it is there and undamaged, else built.

        `lists` is by default the square root of the number of entities. Raises `PartError` if faiss is missing, and
        `MMKitError` if the cache cannot be written.
        """
        faiss = _faiss()
        lists = lists or max(1, math.isqrt(len(entities)))
        folder = cache_dir("indexes") / f"{content_of(entities, str(FORMAT))}-{lists}"
        check_tree(folder)
        with explained(folder, MMKitError), FileLock(f"{folder}.lock"):
            names = _undamaged(folder)
            if names is None:
                shutil.rmtree(folder, ignore_errors=True)
                written_once(folder, lambda target: _build(target, entities, lists))
                names = _undamaged(folder)
            if names is None:
                raise MMKitError(
                    "the file that was just written has other content",
                    where=folder,
                    hint="check the disk",
                    code="cache.unreliable",
                )
            return cls(
                [faiss.read_index(str(folder / n), faiss.IO_FLAG_MMAP) for n in names], entities, probes
            )

    def search(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Cosines `[B, k]` (float32) and rows `[B, k]` of entities near each `query [B, D]`, best first.

        Equal ones are in order of rows; k is at most the number of entities. Raises `DataError` for a query that is not
        finite.
        """
        check_finite(query, "of a query")
        k = min(k, len(self._entities))
        rows = self._rows(
            query, min(2 * k, len(self._entities))
        )  # twice: rounding may have moved the last ones
        return best_of(query, rows, self._entities, k)

    def _rows(self, query: Tensor, count: int) -> Tensor:
        """`count` rows near each query `[B, count]`; more lists are searched if those contain too few."""
        faiss = _faiss()
        vectors = _vectors(query.detach())
        lists = self._parts[0].nlist
        probes = min(self.probes, lists)
        while True:
            chosen = faiss.SearchParametersIVF(nprobe=probes)
            found = [part.search(vectors, min(count, part.ntotal), params=chosen) for part in self._parts]
            scores, rows = (torch.from_numpy(np.concatenate(x, axis=1)) for x in zip(*found, strict=True))
            rows = rows.gather(1, scores.topk(count, dim=1).indices)
            if probes == lists or (rows >= 0).all():
                return rows.to(query.device)
            probes = min(2 * probes, lists)


def _build(folder: Path, entities: EntityFeatures, lists: int) -> None:
    """Write the index of `entities` to `folder`."""
    faiss = _faiss()
    index = faiss.index_factory(entities.dim, f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # no warnings about small knowledge bases
    count = min(len(entities), SAMPLE * lists)
    sample = torch.arange(count) * len(entities) // count
    index.train(_vectors(entities.gather(sample)))
    checks: dict[str, int] = {}

    def write_part() -> None:
        path = folder / f"{len(checks)}.faiss"
        faiss.write_index(index, str(path))
        checks[path.name] = crc32_of(path)
        index.reset()

    for first, block in entities.blocks():
        for some in block.split(STEP):
            rows = torch.arange(first, first + len(some))
            index.add_with_ids(_vectors(some), rows.numpy())
            first += len(some)
            if index.ntotal >= PART:
                write_part()
    if index.ntotal:
        write_part()
    (folder / FACTS).write_text(json.dumps({"format": FORMAT, "checks": checks}), encoding="utf-8")


def _vectors(features: Tensor) -> np.ndarray[Any, Any]:
    """Features for faiss: on the host, in float32, with length 1."""
    return unit(features.float()).cpu().numpy()


def _undamaged(folder: Path) -> list[str] | None:
    """The parts of an index, or None if they are not as they were written."""
    try:
        facts = read_json(folder / FACTS)
        whole = facts["format"] == FORMAT and all(
            crc32_of(folder / n) == c for n, c in facts["checks"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return list(facts["checks"]) if whole else None


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise PartError(
            "searching many entities on a CPU needs faiss",
            hint='pip install "mmkit-core[faiss]"',
            code="part.needs-package",
        ) from error
    return faiss
