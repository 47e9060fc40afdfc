"""`mmkit.kb_jsonl.v1`: a knowledge base of any size, one entity on each line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from mmkit.data.crops import blanked
from mmkit.data.json_text import parse_line
from mmkit.data.jsonlines import WHOLE_FILE, check_header
from mmkit.data.lines import numbered_lines
from mmkit.data.problems import Place
from mmkit.data.reader import Reader
from mmkit.data.records import entity_from_json
from mmkit.data.types import Entity
from mmkit.errors import DataError


class KbJsonlReader(Reader):
    """Reads entities from canonical jsonlines, or from lines of `{"id", "name", ...}` without the header.

    Only the current line is kept, so ten million entities take no more memory than ten. When the knowledge base is
    built, mmkit checks that ids occur once. Relative image paths are relative to `root`.
    """

    form: ClassVar[str] = "jsonlines of entities, a JSON object with `id` and `name` a line"
    kinds: ClassVar[frozenset[str]] = frozenset({"jsonl-entities", "kb-lines"})

    def __iter__(self) -> Iterator[Entity]:
        self.repairs.clear()
        self.place = None
        for number, line in numbered_lines(self.path, self.source, self.repairs):
            where = f"{self.path}:{number}"
            if not line.strip():
                self.repairs["empty line skipped"] += 1
                continue
            try:
                record = parse_line(line, where)
                if number == 1 and isinstance(record, dict) and "format" in record:
                    check_header(record, where, "entities")
                    continue
                entity = entity_from_json(record, where=where, root=self.root)
            except DataError as error:
                if error.code in WHOLE_FILE:
                    raise
                self.refuse(error)
                continue
            self.place = Place(where)
            yield blanked(entity) if self.blank_images else entity

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.mel import kb_jsonl_sample

        return kb_jsonl_sample(folder, seed)
