"""What RiVEG's authors publish of Twitter10000's test split: the gold names with boxes, and predicted names.

One line a name, its fields separated by `###`; the gold list in the first form, predictions in the second:

    71044.jpg###Garfield Park(LOC)###a park with a greenhouse###0###&[0, 0, 0, 0]
    Imageid:71044.jpg#7060###Garfield Park(LOC)###Garfield Park(LOC)-A conservatory.###0

The flag is 2 for a name that the photo shows, else 0. Predictions have no boxes. Neither tells where a name stands, and
neither lists posts without names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mmkit.data.json_text import parse_line
from mmkit.data.lines import numbered_lines
from mmkit.data.strings import STRINGS
from mmkit.data.types import Example, Prediction
from mmkit.errors import DataError
from mmkit_gmner.mentions import SEEN

BETWEEN = "###"
NAME = re.compile(r"(?P<words>.+)\((?P<label>[A-Z]+)\)")
FLAGS = {"0": False, "2": True}


class Line(NamedTuple):
    """A name of a post; `seen` is what the note `SEEN` says of it."""

    post: str
    words: str
    label: str
    seen: Any


class RivegForm:
    """For the hook `mmkit_prediction_forms`: a list of names, a line each."""

    description = ""
    lists_all = False
    photo: ClassVar[re.Pattern[str]]
    """The first field."""
    ends: ClassVar[tuple[re.Pattern[str], ...]]
    """The fields after the description: the flag, and what follows it."""

    def claims(self, line: str) -> bool:
        return self._fields(line) is not None

    def _fields(self, line: str) -> tuple[str, str, list[str]] | None:
        """Post, name and the fields after the description, which may hold `###` itself; None for another line."""
        first, _, rest = line.partition(BETWEEN)
        name, _, rest = rest.partition(BETWEEN)
        _, *ends = rest.rsplit(BETWEEN, len(self.ends))
        post = self.photo.fullmatch(first)
        if post is None or not name or len(ends) < len(self.ends):
            return None
        if any(form.fullmatch(end) is None for form, end in zip(self.ends, ends, strict=True)):
            return None
        return post["post"], name, ends

    def read(self, path: Path) -> Iterator[tuple[Example, Prediction]]:
        """The names of each post, as gold annotations and as predictions, by their words (`mmkit.strings`).

        Raises `DataError` with file and line.
        """
        posts: dict[str, list[Line]] = {}
        for number, text in numbered_lines(path):
            if text.strip():
                line = self._line(text.strip(), f"{path}:{number}")
                posts.setdefault(line.post, []).append(line)
        for post, lines in posts.items():
            entities = [[line.words, line.label] for line in lines]
            notes = {STRINGS: {"entities": entities, "relations": []}, SEEN: [line.seen for line in lines]}
            yield Example.from_tokens(post, (), notes=notes), Prediction(post, notes=notes)

    def _line(self, text: str, where: str) -> Line:
        found = self._fields(text)
        name = None if found is None else NAME.fullmatch(found[1])
        if found is None or name is None:
            raise DataError(
                f"this is no line of {self.description}: {text[:80]!r}",
                where=where,
                hint="a line is photo###name(TYPE)###description###0 or 2, and in the gold list ###&[a box]",
                code="gmner.riveg-line",
            )
        return Line(found[0], name["words"], name["label"], self.seen(found[2], where))

    def seen(self, ends: list[str], where: str) -> Any:
        """What is known of the name's regions, by the fields after the description."""
        return FLAGS[ends[0]] or []


class LabelForm(RivegForm):
    """The gold list."""

    description = "the list of gold names that RiVEG's authors publish"
    photo = re.compile(r"(?P<post>[^#]+)\.jpg")
    ends = (re.compile("[02]"), re.compile(r"&\[.*\]", re.DOTALL))

    def seen(self, ends: list[str], where: str) -> Any:
        flag, boxes = ends
        if not FLAGS[flag]:
            return []
        return [{"image": 0, "box": _box(text, where)} for text in boxes[1:].split("&")]


class PredictionForm(RivegForm):
    """The predictions."""

    description = "the list of predicted names that RiVEG's authors publish"
    photo = re.compile(r"Imageid:(?P<post>[^#]+)\.jpg#[0-9a-f]+")
    ends = (re.compile("[02]"),)


def _box(text: str, where: str) -> list[float]:
    """The four sides of a box in brackets. Raises `DataError`."""
    try:
        sides = parse_line(text, where)
    except DataError:
        sides = None
    if not isinstance(sides, list) or len(sides) != 4 or not all(map(_finite, sides)):
        raise DataError(
            f"this is no box: {text[:60]!r}",
            where=where,
            hint="a box is [left, top, right, bottom], in pixels",
            code="gmner.riveg-line",
        )
    return [float(side) for side in sides]


def _finite(side: Any) -> bool:
    """Whether a value of JSON is a number that a float can hold."""
    try:
        return type(side) in (int, float) and math.isfinite(side)
    except OverflowError:
        return False
