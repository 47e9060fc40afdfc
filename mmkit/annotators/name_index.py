"""An inverted index of names: the entities whose names are most similar to a mention, exactly, by one formula."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from mmkit.annotators.name_features import Keys, folded, name_features
from mmkit.data.knowledge import hashed
from mmkit.data.types import Entity
from mmkit.errors import DataError
from mmkit.files import explained, kept

Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 1
"""Must be increased when the similarity or the files of an index change."""

CONTAINED = 0.9
"""Weight of containment, compared with equality, in the similarity of two names."""

_CHUNK = 50_000  # names whose features are found at a time
_DECIMALS = 6  # sums in another order differ far behind these, and must not decide


class NameIndex:
    """Finds entities by name or alias. The similarity of two names with the features A and B is

        w(A ∩ B) / (0.9 · min(w(A), w(B)) + 0.1 · max(w(A), w(B))),

    where features are trigrams and words (`name_features`), and w sums ln(1 + names / names with the feature). It is
    1 for equal features, almost 1 if one name is part of the other ("Powers" and "Stefanie Powers"; the shorter whole
    comes first), and lower with typos and different words. An entity is as similar as its most similar name. If
    several are equally similar, names with exactly the mention's letters come first, then shorter ones, then those of
    earlier entities.

    A search compares every name that shares a feature: its time and memory grow with the number of names, by a few
    bytes for each. The index itself is memory-mapped.
    """

    def __init__(self, folder: Path) -> None:
        with explained(folder, DataError):
            arrays = {
                path.stem: np.load(path, mmap_mode="r").view(np.ndarray) for path in folder.glob("*.npy")
            }
        self._vocabulary: Keys = arrays["vocabulary"]
        self._weights = arrays["weights"]
        self._bounds = arrays["bounds"]
        self._names = arrays["names"]
        self._totals = arrays["totals"]
        self._lengths = arrays["lengths"]
        self._spellings = arrays["spellings"]
        self._owners = arrays["owners"]
        self._id_bounds, self._ids = arrays["id_bounds"], arrays["ids"]

    @classmethod
    def build(cls, folder: Path, entities: Iterable[Entity]) -> NameIndex:
        """The index in `folder`, written from `entities` unless it exists, undamaged.

        Entities are read once and not kept; writing needs about 400 bytes for each name. Raises
        `DataError` if the disk refuses.
        """
        return cls(kept(folder, lambda target: _write(target, entities)))

    def search(self, text: str, top: int) -> tuple[Array, Array]:
        """The rows of the `top` entities most similar to `text`, best first, and their similarities.

        There are fewer if fewer share anything with it.
        """
        names, similarities = self._similar(text)
        best, wanted = self._ranked(text, *_greatest(top, names, similarities)), top
        while len(best[0]) < top and wanted < len(names):
            wanted *= 4  # several names of one entity were among them
            best = self._ranked(text, *_greatest(wanted, names, similarities))
        rows, similarity = best
        return rows[:top], similarity[:top]

    def ids(self, rows: Iterable[int]) -> list[str]:
        """The ids of entities' rows."""
        return [
            self._ids[self._id_bounds[row] : self._id_bounds[row + 1]]
            .tobytes()
            .decode("utf-8", "surrogatepass")
            for row in rows
        ]

    def _similar(self, text: str) -> tuple[Array, Array]:
        """All names that share a feature with `text`, and how similar they are."""
        keys, _ = name_features([folded(text)])
        features = self._vocabulary.searchsorted(keys)
        known = features < len(self._vocabulary)
        known[known] = self._vocabulary[features[known]] == keys[known]
        features = features[known]
        weights = self._weights[features]
        unseen = np.log1p(len(self._totals)) * np.count_nonzero(~known)  # as if one name had each of them
        starts, ends = self._bounds[features], self._bounds[features + 1]
        having = [self._names[start:end] for start, end in zip(starts, ends, strict=True)]
        shared = np.bincount(_joined(having, np.int32), np.repeat(weights, ends - starts))
        names = np.flatnonzero(shared > 0)
        own, theirs = weights.sum() + unseen, self._totals[names]
        most = CONTAINED * np.minimum(own, theirs) + (1 - CONTAINED) * np.maximum(own, theirs)
        return names, np.round(shared[names] / most, _DECIMALS)

    def _ranked(self, text: str, names: Array, similarities: Array) -> tuple[Array, Array]:
        """The entities of `names`, each once, best first, with the similarity of their best names."""
        owners = self._owners[names]
        respelt = self._spellings[names] != hashed([text])[0]
        order = np.lexsort((owners, self._lengths[names], respelt, -similarities))
        _, first = np.unique(owners[order], return_index=True)
        best = order[np.sort(first)]
        return owners[best], similarities[best]


def _greatest(count: int, names: Array, similarities: Array) -> tuple[Array, Array]:
    """The `count` most similar names, and all that are as similar as the last of them, unordered."""
    if count >= len(names):
        return names, similarities
    kept = similarities >= np.partition(similarities, -count)[-count]
    return names[kept], similarities[kept]


@dataclass
class _Columns:
    """What is kept of each name and each entity while an index is written."""

    owners: array[int] = field(default_factory=lambda: array("i"))
    lengths: array[int] = field(default_factory=lambda: array("i"))
    ids: bytearray = field(default_factory=bytearray)
    id_bounds: array[int] = field(default_factory=lambda: array("q", [0]))

    def names(self, entities: Iterable[Entity]) -> Iterator[str]:
        """Each entity's distinct names in turn; other facts are stored during the iteration."""
        for row, entity in enumerate(entities):
            self.ids += entity.id.encode("utf-8", "surrogatepass")
            self.id_bounds.append(len(self.ids))
            for name in dict.fromkeys((entity.name, *entity.aliases)):
                self.owners.append(row)
                self.lengths.append(len(name))
                yield name


def _write(folder: Path, entities: Iterable[Entity]) -> None:
    columns = _Columns()
    names = columns.names(entities)
    keys, counts, spellings = [], [], []
    while chunk := list(itertools.islice(names, _CHUNK)):
        some_keys, some_counts = name_features([folded(name) for name in chunk])
        keys.append(some_keys)
        counts.append(some_counts)
        spellings.append(hashed(chunk))
    vocabulary = np.unique(_joined([np.unique(some) for some in keys], np.uint64))
    features = [np.searchsorted(vocabulary, keys.pop(0)).astype(np.int32) for _ in counts]
    bounds, having = _inverted(_joined(features, np.int32), _joined(counts, np.int64), len(vocabulary))
    weights = np.log1p(len(columns.owners) / np.diff(bounds))
    totals = [
        np.bincount(np.repeat(np.arange(len(n)), n), weights[some], minlength=len(n))
        for some, n in zip(features, counts, strict=True)
    ]
    arrays = {
        "vocabulary": vocabulary,
        "weights": weights,
        "bounds": bounds,
        "names": having,
        "totals": _joined(totals, np.float64),
        "lengths": np.array(columns.lengths),
        "spellings": _joined(spellings, np.uint64),
        "owners": np.array(columns.owners),
        "id_bounds": np.array(columns.id_bounds),
        "ids": np.frombuffer(columns.ids, np.uint8),
    }
    for stem, values in arrays.items():
        np.save(folder / f"{stem}.npy", values)


def _joined(chunks: Sequence[Array], dtype: type[np.generic]) -> Array:
    """The chunks as one array, empty where there is none."""
    return np.concatenate([np.empty(0, dtype), *chunks])


def _inverted(features: Array, counts: Array, vocabulary: int) -> tuple[Array, Array]:
    """From the features of each name (`counts` of them) to the names of each feature, with their bounds."""
    bounds = np.concatenate([[0], np.cumsum(counts)])
    ones = np.ones(len(features), np.int8)
    inverted = csr_matrix((ones, features, bounds), shape=(len(counts), vocabulary)).tocsc()
    return inverted.indptr.astype(np.int64), inverted.indices.astype(np.int32)
