"""JSON from users' files: repeated fields, NaN and unpaired surrogates are refused, with their place."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from mmkit.data.lines import numbered_lines
from mmkit.errors import DataError

_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
"""The escape through which an unpaired surrogate, or a pair, gets into UTF-8."""


def parse_line(line: str, where: str) -> Any:
    """The JSON value of one line. Raises `DataError` that says `where` and, of a syntax error, the character."""
    try:
        return _value(line, where)
    except json.JSONDecodeError as error:
        hint = (
            "it may have been cut off here, or it goes on in the next line" if _is_unfinished(error) else ""
        )
        raise DataError(_syntax(error), where=where, hint=hint, code="json.syntax") from None


def read_json(path: Path, source: str = "", repairs: Counter[str] | None = None) -> Any:
    """The JSON value of a whole UTF-8 file. A field that stands twice in an object is refused.

    A byte order mark is dropped and counted in `repairs`. Raises `DataError`: of a missing file with `source`,
    where the dataset comes from, as its hint; of a syntax error with file and line.
    """
    text = "\n".join(line for _, line in numbered_lines(path, source, repairs))
    try:
        return _value(text, str(path), with_lines=True)
    except json.JSONDecodeError as error:
        hint = (
            "the file ends before its value does: it may have been cut off" if _is_unfinished(error) else ""
        )
        raise DataError(
            _syntax(error), where=f"{path}:{error.lineno}", hint=hint, code="json.syntax"
        ) from None


def surrogates(value: Any, where: str) -> DataError:
    """The error for a value that holds an unpaired surrogate; it names the field."""
    return DataError(
        f"`{_surrogate_field(value)}` contains an unpaired surrogate, which is not a character",
        where=where,
        hint="replace it, for example with text.encode('utf-8', 'replace').decode()",
        code="json.surrogate",
    )


def _value(text: str, where: str, with_lines: bool = False) -> Any:
    """The value; a syntax error is left to the caller, who knows its place."""
    try:
        value = json.loads(text, object_pairs_hook=unique_fields, parse_constant=_refuse)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        if with_lines and isinstance(error, TwiceError) and (line := error.line(text)):
            where = f"{where}:{line}"
        raise DataError(f"not JSON that can be read: {error}", where=where, code="json.unreadable") from None
    if _SURROGATE_ESCAPE.search(text) and _surrogate_field(value) is not None:
        raise surrogates(value, where)
    return value


def _syntax(error: json.JSONDecodeError) -> str:
    return f"not JSON: {error.msg.removesuffix(' at')} at character {error.colno}"


def _is_unfinished(error: json.JSONDecodeError) -> bool:
    """Whether the text ends within the value."""
    text = error.doc.rstrip()
    return bool(text) and (error.pos >= len(text) or error.msg.startswith("Unterminated string"))


def unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the JSON parser (its `object_pairs_hook`). Raises `ValueError` for a field that stands twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        double, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise TwiceError(double)
    return fields


class TwiceError(ValueError):
    """A field that stands twice in an object."""

    def __init__(self, field: str) -> None:
        super().__init__(f"the field {field!r} occurs twice")
        self.field = field

    def line(self, text: str) -> int | None:
        """The line of `text` where the field stands again; None where other objects have such a field too."""
        places = [
            m.start()
            for m in re.finditer(re.escape(json.dumps(self.field, ensure_ascii=False)) + r"\s*:", text)
        ]
        return text.count("\n", 0, places[1]) + 1 if len(places) == 2 else None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


def _surrogate_field(value: Any) -> str | None:
    """The first field with an unpaired surrogate; a loop, because nesting may be as deep as the parser allows."""
    waiting = [("", value)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, str):
            if _SURROGATE.search(value):
                return name
        elif isinstance(value, list):
            waiting += [(f"{name}[{i}]", value[i]) for i in reversed(range(len(value)))]
        elif isinstance(value, dict):
            for key in reversed(value):
                inside = f"{name}.{key}" if name else key
                waiting += [(inside, value[key]), (ascii(inside), key)]
    return None
