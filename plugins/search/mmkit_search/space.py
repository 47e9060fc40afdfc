"""What may be tried for one setting: a range of numbers, or choices.

1e-5..1e-3 log      0.1..0.5      2..8      4..64 step 4      relu | gelu      ["relu", "gelu"]
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from mmkit.errors import RecipeError

Number: TypeAlias = int | float

_NUMBER = r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_RANGE = re.compile(
    rf"(?P<low>{_NUMBER})\s*\.\.\s*(?P<high>{_NUMBER})(?:\s+step\s+(?P<step>{_NUMBER}))?(?P<log>\s+log)?"
)
_LIKE_A_RANGE = re.compile(rf"{_NUMBER}\s*\.\.")
_WORDS = {"True": True, "False": False, "None": None}
FORMS = "write 1e-5..1e-3 log, 2..8, 4..64 step 4, or choices: relu | gelu"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; with `log`, small and large ones are tried equally often."""

    low: Number
    high: Number
    step: Number | None = None
    log: bool = False

    def __str__(self) -> str:
        step = "" if self.step is None else f" step {self.step!r}"
        return f"{self.low!r}..{self.high!r}{step}{' log' if self.log else ''}"

    @property
    def ends(self) -> tuple[Number, Number]:
        """The values that a recipe must accept."""
        return self.low, self.high

    @property
    def is_whole(self) -> bool:
        """Whether all its numbers are written as whole ones."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 0))


@dataclass(frozen=True)
class Choices:
    """JSON values, without an order."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return " | ".join(map(written, self.values))

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that a recipe must accept."""
        return self.values


Space: TypeAlias = Range | Choices


def parse_space(value: Any) -> Space | None:
    """The space that a value of a recipe's syntax describes; None for a plain value.

    Raises `RecipeError` (codes `search.range` and `search.choices`) for a range or choices that make no sense.
    """
    if isinstance(value, list):
        return _choices(tuple(value))
    if not isinstance(value, str):
        return None
    text = value.strip()
    if match := _RANGE.fullmatch(text):
        step = None if match["step"] is None else _number(match["step"])
        return _checked(Range(_number(match["low"]), _number(match["high"]), step, bool(match["log"])))
    if re.search(r"\s\|\s|^\|\s|\s\|$", text):
        return _choices(tuple(_scalar(part.strip()) for part in re.split(r"(?:^|\s)\|(?=\s|$)", text)))
    if _LIKE_A_RANGE.match(text):
        raise RecipeError(f"{value!r} cannot be read as a range", hint=FORMS, code="search.range")
    return None


def written(value: Any) -> str:
    """One value, as it is written in choices: text without quotes, if it is read as the same text."""
    plain = isinstance(value, str) and value and "|" not in value and value == value.strip()
    return str(value) if plain and _scalar(value) == value else json.dumps(value, ensure_ascii=False)


def _number(text: str) -> Number:
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)


def _scalar(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _WORDS.get(text, text)


def _checked(found: Range) -> Range:
    """The range, if it can be searched. Raises `RecipeError`."""
    low, high, step = found.low, found.high, found.step
    problem, hint = "", FORMS
    if not all(math.isfinite(number) for number in (low, high, step or 0)):
        problem = "has a number that is not finite"
    elif low > high:
        problem, hint = "is reversed", f"write {Range(high, low, step, found.log)}"
    elif low == high:
        problem, hint = "has only one value", f"write {low!r} to set it to this value"
    elif found.log and low <= 0:
        problem = "cannot be logarithmic: it must begin above 0"
        hint = "begin with a small number, such as 1e-6, or leave out log"
    elif step is not None and found.log:
        problem, hint = "has a step and is logarithmic", "leave out one of the two"
    elif step is not None and step <= 0:
        problem = f"must have a step above 0, not {step!r}"
    elif step is not None and step > high - low:
        problem = f"has only one value: the step {step!r} is larger than the range"
    elif step is not None and not _reaches(low, high, step):
        last = low + step * math.floor((high - low) / step)
        problem, hint = (
            f"does not end at a step: the last value is {last!r}",
            f"write {Range(low, last, step)}",
        )
    if problem:
        raise RecipeError(f"the range {found} {problem}", hint=hint, code="search.range")
    return found


def _reaches(low: Number, high: Number, step: Number) -> bool:
    steps = (high - low) / step
    return math.isclose(steps, round(steps), rel_tol=1e-9)


def _choices(values: tuple[Any, ...]) -> Choices:
    """Choices, if there are several. Raises `RecipeError`."""
    texts = [json.dumps(value, sort_keys=True) for value in values]
    problem = ""
    if "" in values:
        problem = "one of the choices is empty"
    elif len(values) < 2:
        problem = "there must be at least two choices"
    elif twice := [text for i, text in enumerate(texts) if text in texts[:i]]:
        problem = f"the choice {twice[0]} is there twice"
    if problem:
        raise RecipeError(problem, hint=FORMS, code="search.choices")
    return Choices(values)
