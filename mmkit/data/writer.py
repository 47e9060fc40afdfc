"""The opposite of a reader: `Example`s (or `Entity`s) become a file of some format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmkit.data.types import Entity, Example
from mmkit.errors import DataError


class Writer(ABC):
    """Writes one file (or folder), streaming where the format allows it.

    The constructor takes settings and touches no disk. Relative paths of pictures are relative to the folder that holds
    the file. What the format has no place for is counted in `losses` (what → count) and shown to the user, never
    dropped in silence; what it cannot hold at all without becoming wrong is a `DataError` that names the record.
    A writer has the name of the reader of the same format: what it writes, that reader reads.
    """

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
                "the format holds examples, and these are entities of a knowledge base",
                where=path,
                hint="write them as jsonlines",
                code="data.entities",
            )
        yield record
