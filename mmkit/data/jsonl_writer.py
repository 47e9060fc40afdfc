"""`mmkit.jsonl.v1`, written: examples or entities as canonical jsonlines."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from mmkit.data.jsonlines import Kind, write_jsonl
from mmkit.data.types import Entity, Example
from mmkit.data.writer import Writer


class JsonlWriter(Writer):
    """Writes canonical jsonlines of examples or of entities, which hold everything: nothing is lost.

    With `header = false`, the first line, which names the format, is left out for other programs.
    """

    ending = ".jsonl"

    def __init__(self, header: bool = True) -> None:
        super().__init__()
        self.header = header

    def write(self, path: Path, records: Iterable[Example | Entity]) -> None:
        self.losses.clear()
        remaining = iter(records)
        first = next(remaining, None)
        kind: Kind = "entities" if isinstance(first, Entity) else "examples"
        write_jsonl(path, chain(() if first is None else (first,), remaining), kind, header=self.header)
