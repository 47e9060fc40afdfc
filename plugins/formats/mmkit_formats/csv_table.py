"""`formats.csv.v1`: a table of posts as CSV or TSV, with named columns."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmkit import Entity, Example
from mmkit.data.alignment import Misaligned, Units
from mmkit.data.lines import numbered_lines
from mmkit.data.reader import Guess
from mmkit.data.writer import Writer, only_examples
from mmkit.errors import DataError
from mmkit.files import atomic
from mmkit_formats.columns import Columns, Rows, relations_of, spans_of
from mmkit_formats.drafts import Draft, FormatReader, count_rest, note_of
from mmkit_formats.media import located, plain_photos
from mmkit_formats.messages import not_this_format, shown, wrong

NOTE = "formats.csv"


_USUAL = {
    "text": ("text", "sentence", "tweet", "caption", "post", "content"),
    "tokens": ("tokens", "words"),
    "tags": ("ner_tags", "tags", "labels", "ner"),
    "spans": ("spans", "entities"),
    "relations": ("relations",),
    "images": ("image", "images", "photo", "picture", "img", "image_path", "img_path"),
    "id": ("id",),
}
"""What tables call the columns that are read; the first is the default."""


def guessed(names: list[str]) -> dict[str, Any] | None:
    """The setting `columns` for these columns, {} if they have their usual names; None without a sentence."""
    lower = {name.lower(): name for name in names}
    found = {
        column: lower[word] for column, words in _USUAL.items() for word in reversed(words) if word in lower
    }
    if "tokens" not in found and "text" not in found:
        return None
    if "tokens" not in found:
        found.pop("tags", None)  # labels of whole sentences
    other = {column: name for column, name in found.items() if name != _USUAL[column][0]}
    return {"columns": other} if other else {}


class CsvReader(FormatReader):
    """Reads a table whose first line names the columns; `delimiter` is "," or, in `.tsv` files, a tab.

    `columns` gives their names, if they are not id, text, tokens, ner_tags, spans, relations and image:
    `{"text": "tweet", "images": "photo"}`. Tokens and tags are JSON lists, or words separated by spaces; spans and
    relations are JSON lists of objects. Several images are separated by `image_separator`. Other columns are kept in
    the note `formats.csv`.
    """

    note = NOTE
    form = "a table (CSV) whose first line names the columns"
    kinds = frozenset({"table"})
    symptoms = frozenset({"formats.other-format", "formats.columns", "formats.csv"})

    def __init__(
        self,
        root: str,
        file: str,
        blank_images: bool = False,
        *,
        misaligned: Misaligned = "error",
        offsets: Units = "characters",
        columns: dict[str, str] | None = None,
        delimiter: str | None = None,
        image_separator: str = "|",
    ) -> None:
        super().__init__(root, file, blank_images, misaligned=misaligned, offsets=offsets)
        self.columns = named(columns)
        self.delimiter, self.image_separator = delimiter, image_separator

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """A table whose first line names a column of texts or tokens."""
        if b"\0" in head:
            return None
        first = head.decode("utf-8", "replace").removeprefix("\ufeff").partition("\n")[0].strip()
        usual = "\t" if path.suffix in (".tsv", ".tab") else ","
        for delimiter in (usual, ",", "\t", ";"):
            names = next(csv.reader([first], delimiter=delimiter), [])
            columns = guessed(names) if len(names) > 1 and len(set(names)) == len(names) else None
            if columns is not None:
                other = {} if delimiter == usual else {"delimiter": delimiter}
                return Guess(f"a table of {', '.join(names)}", {**columns, **other})
        return None

    def drafts(self) -> Iterator[Draft]:
        delimiter = self.delimiter or ("\t" if self.path.suffix in (".tsv", ".tab") else ",")
        lines = (f"{line}\n" for _, line in numbered_lines(self.path, self.source, self.repairs))
        table = csv.reader(lines, delimiter=delimiter, strict=True)
        rows = Rows(self.columns, lambda path, _: located(str(path), self.root))
        first = self.path
        try:
            head = next(table, None)
            if not head:
                raise wrong(
                    "the table is empty", first, "its first line names the columns", code="formats.empty"
                )
            if self.columns.text not in head and self.columns.tokens not in head:
                other = next((d for d in (";", "\t", ",") if len(head) == 1 and d in head[0]), None)
                if other is not None:
                    raise wrong(
                        f"the table has one column, {shown(head[0])}, if {delimiter!r} separates them",
                        f"{self.path}:1",
                        f"set its delimiter: delimiter = {json.dumps(other)} in a recipe, or "
                        f"--delimiter {shlex.quote(other)}",
                        code="formats.columns",
                    )
                not_this_format(
                    f"there is no column {self.columns.text!r} or {self.columns.tokens!r}",
                    f"{self.path}:1",
                    f"the columns are {shown(', '.join(head), 100)}: name the one with the text: "
                    'columns = {"text": "..."}',
                )
            if len(set(head)) < len(head):
                raise wrong(
                    "two columns have one name",
                    f"{self.path}:1",
                    "give each column its own name",
                    code="formats.columns",
                )
            at = table.line_num + 1
            for cells in table:
                where = f"{self.path}:{at}"
                at = table.line_num + 1
                if not cells:
                    self.repairs["empty line skipped"] += 1
                    continue
                if len(cells) != len(head):
                    raise wrong(
                        f"this line has {len(cells)} cells, but the table has {len(head)} columns",
                        where,
                        "put quotes around a cell that contains the delimiter or a line break",
                        code="formats.columns",
                    )
                yield self._draft(rows, dict(zip(head, cells, strict=True)), where)
        except csv.Error as error:
            raise wrong(
                f"not CSV: {error}",
                f"{self.path}:{table.line_num}",
                "check the setting delimiter, and the quotes in the file",
                code="formats.csv",
            ) from None

    def _draft(self, rows: Rows, row: dict[str, Any], where: str) -> Draft:
        images = row.get(self.columns.images)
        if images and self.image_separator:
            row[self.columns.images] = images.split(self.image_separator)
        if row.get(self.columns.id) == "":
            row[self.columns.id] = None
        draft = rows.draft(row, where, f"{self.path.stem}:{where.rpartition(':')[2]}")
        draft.extra = {k: v for k, v in draft.extra.items() if v}
        return draft


class CsvWriter(Writer):
    """Writes a table with the columns id, text, tokens, spans, relations, image and those that the read table had.

    Tokens, spans and relations are JSON. `extra` names the columns of the note `formats.csv` to write; by default,
    those of the first example.
    """

    ending = ".csv"

    def __init__(
        self,
        columns: dict[str, str] | None = None,
        delimiter: str | None = None,
        image_separator: str = "|",
        extra: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.columns, self.delimiter, self.image_separator, self.extra = (
            named(columns),
            delimiter,
            image_separator,
            extra,
        )

    def write(self, path: Path, records: Iterable[Example | Entity]) -> None:
        self.losses.clear()
        delimiter = self.delimiter or ("\t" if path.suffix in (".tsv", ".tab") else ",")
        with atomic(path, error=DataError) as file:
            table = csv.writer(file, delimiter=delimiter, lineterminator="\n")
            extra = self.extra
            c = self.columns
            for example in only_examples(records, path):
                more = note_of(example, NOTE).get("columns", {})
                if extra is None or file.tell() == 0:
                    extra = list(more) if self.extra is None else self.extra
                    table.writerow([c.id, c.text, c.tokens, c.spans, c.relations, c.images, *extra])
                for lost in more.keys() - set(extra):
                    self.losses[f"column {lost}"] += 1
                count_rest(example, self.losses, (NOTE,))
                photos = plain_photos(example, self.losses)
                if any(self.image_separator in photo for photo in photos):
                    raise wrong(
                        f"an image's path contains {self.image_separator!r}, which separates images",
                        example.id,
                        "set image_separator to something else",
                        code="formats.columns",
                    )
                table.writerow(
                    [
                        example.id,
                        example.text,
                        *(
                            _json(cell)
                            for cell in (list(example.tokens), spans_of(example), relations_of(example))
                        ),
                        self.image_separator.join(photos),
                        *("" if more.get(k) is None else more[k] for k in extra),
                    ]
                )


def named(columns: dict[str, str] | None) -> Columns:
    """The columns, some with other names. Raises `ValueError` for an unknown one."""
    known = Columns.__dataclass_fields__
    if unknown := [name for name in columns or {} if name not in known]:
        raise ValueError(f"there is no column {unknown[0]!r}; they are {', '.join(known)}")
    return Columns(**(columns or {}))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
