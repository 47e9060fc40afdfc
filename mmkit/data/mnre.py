"""`mmkit.mnre.v1`: relation instances, one Python-literal dictionary on each line (MNRE)."""

from __future__ import annotations

import ast
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from mmkit.data.crops import CropTable, crop_table_files, post_images, under
from mmkit.data.image_paths import Photos
from mmkit.data.json_text import parse_line
from mmkit.data.lines import numbered_lines
from mmkit.data.problems import Place
from mmkit.data.reader import Reader
from mmkit.data.types import Example, Image, Relation, Span
from mmkit.errors import DataError

MAX_LINE = 65_536
"""The longest line, in characters, that is parsed: a longer one could nest deep enough to exhaust the stack.

MNRE's longest has 7,356."""


class MnreReader(Reader):
    """Reads `{'token': [...], 'h': {'name', 'pos'}, 't': {...}, 'img_id': ..., 'relation': ...}` lines.

    Each becomes an example with one relation from head to tail; its spans have the labels "head" and "tail", because
    the types of entities are part of the relation's name and would give it away. The images are in `<root>/<images>`
    (published: `img_org/train`; `images = None` reads text alone); `crops` is a table of object crops by line index
    (see `CropTable`) whose files are in `crop_images` (`missing_crops = "none"` counts a table that does not exist
    instead of stopping); all paths are relative to `root`. A relation that is null is a pair without a label. Lines
    may be JSON too, which is counted.

    Readers of files whose tokens are more than the sentence extend `split`.
    """

    form: ClassVar[str] = "a Python dictionary a line, as MNRE publishes them"
    kinds: ClassVar[frozenset[str]] = frozenset({"mnre"})
    pictures_in: ClassVar[str] = "images"

    source: ClassVar[str] = (
        "MNRE is published at https://github.com/thecharm/MNRE, "
        "and with HVPNeT's object crops at https://github.com/zjunlp/HVPNeT"
    )

    def __init__(
        self,
        root: str,
        file: str,
        *,
        images: str | None = "images",
        crops: str | None = None,
        crop_images: str = "crops",
        max_crops: int = 3,
        missing_crops: Literal["error", "none"] = "error",
        blank_images: bool = False,
    ) -> None:
        super().__init__(root, file, blank_images)
        self.images, self.crops, self.crop_images, self.max_crops = images, crops, crop_images, max_crops
        self.missing_crops = missing_crops

    def files(self) -> list[Path]:
        return [self.path, *crop_table_files(self)]

    def __iter__(self) -> Iterator[Example]:
        return (example for _, example in self.instances())

    def instances(self) -> Iterator[tuple[Record, Example]]:
        """Each line's dictionary, and the example made from it."""
        self.repairs.clear()
        crops, posts, named = CropTable.of_reader(self), 0, 0
        for number, line in numbered_lines(self.path, self.source, self.repairs):
            if line.strip():
                where = f"{self.path}:{number}"
                try:
                    record = Record(literal(line, where, self.repairs), where)
                    example = self._example(record, number, crops)
                except DataError as error:
                    self.refuse(error)
                    continue
                posts, named = posts + 1, named + (len(example.images) > 1)
                self.place = Place(where)
                yield record, example
            else:
                self.repairs["empty line skipped"] += 1
        crops.count_unused(posts, named, self.repairs)

    def _example(self, record: Record, number: int, crops: CropTable) -> Example:
        tokens, notes = self.split(record.tokens(), record.where)
        head, tail = record.span("h", "head", tokens), record.span("t", "tail", tokens)
        for key, span in (("h", head), ("t", tail)):
            if record.value[key].get("name") != " ".join(tokens[span.start : span.end]):
                self.repairs["name other than the tokens at its position (the position is used)"] += 1
        images: tuple[Image, ...] = ()
        if self.images is not None:
            name, index = record.text("img_id"), number - 1
            photo = Photos(under(self.root, self.images), self.repairs, "").named(name, record.where)
            images = post_images(photo, crops.files(index, str(index), name), self.blank_images)
        label = record.label()
        if label is None:
            self.repairs["relation without a label"] += 1
        relation = Relation(head, tail, label)
        return Example.from_tokens(
            f"{self.path.stem}:{number}", tokens, images=images, relations=(relation,), notes=notes
        )

    def split(self, tokens: list[str], where: str) -> tuple[list[str], dict[str, Any]]:
        """The sentence's tokens and its notes, of all the tokens on the line `where`."""
        return tokens, {}

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.mre import mnre_sample

        return mnre_sample(folder, seed)


class Record:
    """A line's dictionary; its fields are checked when they are read."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise DataError(
                f"the line holds a {type(value).__name__}, not a dictionary",
                where=where,
                code="mnre.not-a-dictionary",
            )
        self.value, self.where = value, where

    def _field(self, key: str) -> Any:
        if key not in self.value:
            raise DataError(f"the field {key!r} is missing", where=self.where, code="json.missing-field")
        return self.value[key]

    def text(self, key: str) -> str:
        value = self._field(key)
        if not isinstance(value, str):
            raise DataError(
                f"{key!r} must be a string, not {value!r:.60}", where=self.where, code="json.wrong-type"
            )
        return value

    def label(self) -> str | None:
        """The relation; None where it is null."""
        return None if self._field("relation") is None else self.text("relation")

    def tokens(self) -> list[str]:
        tokens = self._field("token")
        if not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
            raise DataError("'token' must be a list of strings", where=self.where, code="json.wrong-type")
        if not tokens:
            raise DataError("an empty sentence", where=self.where, code="data.empty-sentence")
        return tokens

    def span(self, key: str, label: str, tokens: list[str]) -> Span:
        entity = self._field(key)
        bounds = entity.get("pos") if isinstance(entity, dict) else None
        two = isinstance(bounds, (list, tuple)) and len(bounds) == 2 and all(type(b) is int for b in bounds)
        if not isinstance(bounds, (list, tuple)) or not two:
            raise DataError(
                f"{key!r} must hold 'pos': [start, end] in tokens", where=self.where, code="json.wrong-type"
            )
        start, end = bounds
        if not 0 <= start < end <= len(tokens):
            raise DataError(
                f"{key!r} lies at tokens [{start}, {end}) of a sentence of {len(tokens)}",
                where=self.where,
                code="data.span-outside",
            )
        return Span(start, end, label)


def literal(line: str, where: str, repairs: Counter[str]) -> Any:
    """The Python literal on a line, or its JSON, which is counted; nothing is executed.

    Raises `DataError` for anything else, and for a key that stands twice.
    """
    if len(line) > MAX_LINE:
        raise DataError(
            f"a line of {len(line)} characters; at most {MAX_LINE} are read",
            where=where,
            code="mnre.line-too-long",
        )
    try:
        with warnings.catch_warnings():  # an unknown escape such as '\d' is kept as it is
            if "\\" in line:
                warnings.simplefilter("ignore")
            tree = ast.parse(line.lstrip(" \t"), mode="eval")
        value = ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        found = _json(line, where)
        if found is None:
            raise _no_literal(error, where) from None
        repairs["line read as JSON, where MNRE has a Python literal"] += 1
        return found
    _refuse_doubles(tree.body, where)
    return value


def _json(line: str, where: str) -> Any:
    """The JSON object on a line; None if there is none."""
    try:
        found = isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return None
    return parse_line(line, where) if found else None


def _no_literal(error: Exception, where: str) -> DataError:
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    if isinstance(error, ValueError) and "malformed node" in reason:  # Python names objects in memory there
        reason = "it holds a name or a call, and nothing is run"
    return DataError(
        f"not a Python literal: {reason}",
        where=where,
        hint="each line is one dictionary, as MNRE publishes them",
        code="mnre.syntax",
    )


def _refuse_doubles(node: ast.expr, where: str) -> None:
    """Raise `DataError` for a key that stands twice in a dictionary, or in one within it."""
    if not isinstance(node, ast.Dict):
        return
    keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
    if len(set(keys)) < len(keys):
        double, _ = Counter(keys).most_common(1)[0]
        raise DataError(f"the field {double!r} occurs twice", where=where, code="json.duplicate-field")
    for value in node.values:
        _refuse_doubles(value, where)
