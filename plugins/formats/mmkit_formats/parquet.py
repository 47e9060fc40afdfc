"""`formats.parquet.v1`: a table of posts as parquet, with named columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmkit import Entity, Example
from mmkit.data.alignment import Misaligned, Units
from mmkit.data.reader import Guess
from mmkit.data.regular import open_regular
from mmkit.data.writer import Writer, only_examples
from mmkit.errors import DataError
from mmkit.files import replacing
from mmkit_formats.columns import Rows, relations_of, spans_of, tags_of
from mmkit_formats.csv_table import guessed, named
from mmkit_formats.drafts import Draft, FormatReader, count_rest, note_of
from mmkit_formats.media import Kept, located, plain_photos
from mmkit_formats.messages import not_this_format, wrong

NOTE = "formats.parquet"
BATCH = 1024
"""How many rows are decoded at a time."""
TOGETHER = 64
"""How many of them are Python objects at a time: few enough that the garbage collector rarely finds them alive."""
PAGE = 1 << 16
"""How many bytes of each column are read at a time."""
GROUP = 8
"""How many of these batches are a row group of a written file: readers keep a description of each group in memory."""

_SPAN = pa.struct(
    [
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("start_char", pa.int32()),
        ("end_char", pa.int32()),
        ("label", pa.string()),
        ("text", pa.string()),
    ]
)
_RELATION = pa.struct([("head", _SPAN), ("tail", _SPAN), ("label", pa.string())])


class ParquetReader(FormatReader):
    """Reads a parquet file, or a folder of them in the order of their names; a few rows are in memory at a time.

    `columns` says what the columns are called, if they are not id, text, tokens, ner_tags, spans, relations and
    image: `{"text": "tweet", "images": "photo"}`. Tags that are numbers count in `tag_names`, or in the names in the
    file's own metadata (Hugging Face's `ClassLabel`). Images are paths, or the images themselves, which are
    put into the folder `pictures` (by default, mmkit's cache). Other columns are kept in the note `formats.parquet`.
    """

    note = NOTE
    form = "a parquet file, or a folder of them"
    kinds = frozenset({"parquet"})
    symptoms = frozenset({"formats.other-format"})

    def __init__(
        self,
        root: str,
        file: str,
        blank_images: bool = False,
        *,
        misaligned: Misaligned = "error",
        offsets: Units = "characters",
        columns: dict[str, str] | None = None,
        tag_names: list[str] | None = None,
        pictures: str | None = None,
    ) -> None:
        super().__init__(root, file, blank_images, misaligned=misaligned, offsets=offsets)
        self.columns, self.tag_names, self.pictures = named(columns), tag_names, pictures
        self._kept = Kept(pictures)

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """A parquet file with a column of texts or tokens, under a usual name."""
        if not head.startswith(b"PAR1"):
            return None
        try:
            names = pq.read_schema(path).names
        except (pa.ArrowException, OSError):
            return None
        columns = guessed(names)
        return None if columns is None else Guess(f"a parquet table of {', '.join(names)}", columns)

    def files(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        found = sorted(self.path.rglob("*.parquet"))
        if not found:
            raise wrong(
                "there is no parquet file in this folder",
                self.path,
                "name one, or its folder",
                code="formats.no-files",
            )
        return found

    def drafts(self) -> Iterator[Draft]:
        for path in self.files():
            number, place, stem, rows = 0, f"{path}, row ", path.stem, None
            for batch, features in self._batches(path):
                rows = rows or Rows(
                    self.columns, self.picture, self.tag_names or tag_names(features, self.columns.tags)
                )
                for row in rows_of(batch):
                    number += 1
                    try:
                        draft = self._draft(rows, row, features, f"{place}{number}", f"{stem}:{number}")
                    except DataError as error:
                        self.refuse(error)
                        continue
                    yield draft

    def _draft(self, rows: Rows, row: dict[str, Any], features: dict[str, Any], where: str, id: str) -> Draft:
        return rows.draft(row, where, id)

    def _batches(self, path: Path) -> Iterator[tuple[pa.RecordBatch, dict[str, Any]]]:
        try:
            open_regular(path).close()
            # by pages: a file may be one group of rows, as large as itself
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=PAGE) as file:
                features = features_of(file.schema_arrow.metadata)
                self._check(file.schema_arrow.names, path)
                for batch in file.iter_batches(BATCH):
                    yield batch, features
        except FileNotFoundError:
            raise DataError("no such data file", where=path, code="file.missing") from None
        except (pa.ArrowException, OSError) as error:
            said = str(error).splitlines()[0]
            not_this_format(f"this parquet file cannot be read: {said}", path, "export it again")

    def _check(self, names: list[str], path: Path) -> None:
        if twice := [name for name in names if names.count(name) > 1]:
            raise wrong(
                f"two columns have the name {twice[0]!r}",
                path,
                "give each column its own name",
                code="formats.columns",
            )
        if self.columns.text not in names and self.columns.tokens not in names:
            raise wrong(
                f"there is no column {self.columns.text!r} or {self.columns.tokens!r}",
                path,
                f'the columns are {", ".join(names)}: name the one with the text: columns = {{"text": "..."}}',
                code="formats.columns",
            )

    def picture(self, cell: Any, where: str) -> str | None:
        """The path of an image that a cell holds."""
        if isinstance(cell, str):
            return located(cell, self.root)
        if isinstance(cell, dict) and cell.get("bytes") is None and isinstance(cell.get("path"), str):
            return located(cell["path"], self.root)
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if self.blank_images:
            return None
        if isinstance(data, bytes):
            return self._kept.path(data, where)
        raise wrong(
            f"a {type(cell).__name__} is not an image",
            where,
            "an image is a path, or the bytes of an image",
            code="formats.no-picture",
        )


class ParquetWriter(Writer):
    """Writes a parquet file with the columns id, text, tokens, ner_tags, spans, relations, image and notes (JSON).

    `ner_tags` are empty for sentences whose spans overlap: `spans` have all of them. Columns that the read table had
    are written again, if one of the first thousand rows has them.
    """

    ending = ".parquet"

    def __init__(self, columns: dict[str, str] | None = None) -> None:
        super().__init__()
        self.columns = named(columns)

    def write(self, path: Path, records: Iterable[Example | Entity]) -> None:
        self.losses.clear()
        remaining = only_examples(records, path)
        first = [self._row(example) for example in islice(remaining, BATCH)]
        extra = self._extra(first)
        c = self.columns
        schema = pa.schema(
            [
                (c.id, pa.string()),
                (c.text, pa.string()),
                (c.tokens, pa.list_(pa.string())),
                (c.tags, pa.list_(pa.string())),
                (c.spans, pa.list_(_SPAN)),
                (c.relations, pa.list_(_RELATION)),
                (c.images, pa.list_(pa.string())),
                *extra.items(),
            ]
        )
        with replacing(path, DataError) as temporary, pq.ParquetWriter(temporary, schema) as file:
            rows = chain(first, (self._row(example) for example in remaining))
            names = frozenset(schema.names)
            group: list[pa.RecordBatch] = []
            while batch := list(islice(rows, BATCH)):
                for row in batch:
                    for lost in row.keys() - names:
                        self.losses[f"column {lost}"] += 1
                group.append(self._batch(batch, schema, path))
                if len(group) == GROUP:
                    file.write_table(pa.Table.from_batches(group))
                    group.clear()
            if group:
                file.write_table(pa.Table.from_batches(group))

    def _batch(self, rows: list[dict[str, Any]], schema: pa.Schema, path: Path) -> pa.RecordBatch:
        try:
            return pa.RecordBatch.from_pylist(rows, schema=schema)
        except pa.ArrowException as error:
            raise wrong(
                f"a column holds values of several kinds: {error}",
                path,
                "convert it to text",
                code="formats.columns",
            ) from None

    def _extra(self, rows: list[dict[str, Any]]) -> dict[str, pa.DataType]:
        """Further columns and their types, taken from the first rows."""
        names = dict.fromkeys(name for row in rows for name in row if name not in self.columns.names())
        types = {}
        for name in names:
            found = pa.array([row.get(name) for row in rows]).type
            types[name] = pa.string() if pa.types.is_null(found) else found
        return types

    def _row(self, example: Example) -> dict[str, Any]:
        c = self.columns
        photos = plain_photos(example, self.losses)
        count_rest(example, self.losses, (NOTE,))
        return {
            **note_of(example, NOTE).get("columns", {}),
            c.id: example.id,
            c.text: example.text,
            c.tokens: list(example.tokens),
            c.tags: tags_of(example),
            c.spans: spans_of(example),
            c.relations: relations_of(example),
            c.images: photos,
        }


def rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The rows of a batch, as Python objects."""
    names = batch.schema.names
    for at in range(0, batch.num_rows, TOGETHER):
        cells = [column.to_pylist() for column in batch.slice(at, TOGETHER).columns]
        for row in zip(*cells, strict=True):
            yield dict(zip(names, row, strict=True))


def features_of(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """Hugging Face's description of the columns in a file's metadata; empty if there is none."""
    if not metadata or b"huggingface" not in metadata:
        return {}
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def tag_names(features: dict[str, Any], column: str) -> list[str] | None:
    """The names of a column of numbered tags; None if the file does not give them."""
    feature = features.get(column)
    inner = feature.get("feature") if isinstance(feature, dict) else None
    if isinstance(feature, list) and feature:
        inner = feature[0]
    names = inner.get("names") if isinstance(inner, dict) else None
    return list(names) if isinstance(names, list) else None
