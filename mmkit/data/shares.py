"""One file as several splits: each record belongs to one of them, by a hash of its text.

The split of a record depends on its text alone: not on its place in the file, the other records, the machine or a seed.
Equal texts are in one split, so no sentence of the test split was trained on; and records that are added later leave
the others where they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmkit.data.problems import Place
from mmkit.data.reader import Reader
from mmkit.data.types import Entity, Example
from mmkit.errors import DataError


def place_of(record: Example | Entity) -> float:
    """A number from 0 up to 1: BLAKE2b (8 bytes, big-endian) of the text in UTF-8, white space as single spaces.

    A record without a text is placed by its id.
    """
    text = " ".join(record.text.split()) if isinstance(record, Example) else ""
    digest = hashlib.blake2b((text or record.id).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


def bounds_of(shares: Mapping[str, float], split: str) -> tuple[float, float]:
    """From which number (`place_of`) up to which the records of a split go; shares add up in their order."""
    names, whole = list(shares), sum(shares.values())
    at = names.index(split)
    low, high = (sum(shares[name] for name in names[:n]) / whole for n in (at, at + 1))
    return low, 1.0 if split == names[-1] else high


class Share(Reader):
    """A reader of one split's share of a file that `reader` reads whole."""

    def __init__(self, reader: Reader, low: float, high: float) -> None:
        self.reader, self.low, self.high = reader, low, high
        self.read = 0
        """The number of records in the whole file, after an iteration."""

    def __getattr__(self, name: str) -> Any:
        if name == "reader":  # while it is copied
            raise AttributeError(name)
        return getattr(self.reader, name)

    @property
    def path(self) -> Path:
        return self.reader.path

    @property
    def place(self) -> Place | None:  # type: ignore[override]
        return self.reader.place

    @property
    def errors(self) -> list[DataError] | None:
        return self.reader.errors

    @errors.setter
    def errors(self, errors: list[DataError] | None) -> None:
        self.reader.errors = errors

    @property
    def form(self) -> str:  # type: ignore[override]
        return self.reader.form

    @property
    def kinds(self) -> frozenset[str]:  # type: ignore[override]
        return self.reader.kinds

    @property
    def symptoms(self) -> frozenset[str]:  # type: ignore[override]
        return self.reader.symptoms

    @property
    def source(self) -> str:  # type: ignore[override]
        return self.reader.source

    @property
    def variants(self) -> Mapping[str, str]:  # type: ignore[override]
        return self.reader.variants

    def files(self) -> list[Path]:
        return self.reader.files()

    def picture_folders(self) -> list[str]:
        return self.reader.picture_folders()

    def sample(self, folder: Path, seed: int) -> dict[str, dict[str, Any]]:  # type: ignore[override]
        return self.reader.sample(folder, seed)

    def __iter__(self) -> Iterator[Example] | Iterator[Entity]:
        self.read = 0
        for record in self.reader:
            self.read += 1
            if self.low <= place_of(record) < self.high:
                yield record
