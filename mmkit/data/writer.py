"""The opposite of a reader: `Example`s (or `Entity`s) become a file of some format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from mmkit.data.types import Entity, Example
from mmkit.errors import DataError


class Writer(ABC):
    """Writes one file (or folder), streaming where the format allows it.

    The constructor takes settings and does not touch the disk. Relative paths of images are relative to the folder of
    the file. What the format has no place for is counted in `losses` (what → count) and shown to the user, never
    dropped in silence. If leaving it out would make the record wrong, that is a `DataError` that names the record.
    A writer has the same name as the reader of its format, and that reader reads what it writes.
    """

    ending: ClassVar[str] = ""
    """How the names of its files usually end, with the dot; empty if it writes a folder."""

    copies_images: bool = False
    """Whether it writes the content of images, in place of their paths."""

    def __init__(self) -> None:
        self.losses: Counter[str] = Counter()

    @abstractmethod
    def write(self, path: Path, records: Iterable[Example | Entity]) -> None:
        """Write `records` to `path`, which appears whole or not at all. Clears `losses` first.

        Raises `DataError` for records that cannot be written, and where the disk refuses.
        """


def only_examples(records: Iterable[Example | Entity], path: Path) -> Iterator[Example]:
    """The records, for a format that has no place for entities. Raises `DataError` for one."""
    for record in records:
        if not isinstance(record, Example):
            raise DataError(
                "the format holds examples, but these are entities of a knowledge base",
                where=path,
                hint="write them as jsonlines",
                code="data.entities",
            )
        yield record
