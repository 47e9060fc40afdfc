"""A recipe's text: reading it, putting overrides in, and writing it again.

The syntax is `[section.name]` and `key = JSON`, as Python's `configparser` reads it. Around that: comments may follow
a value, parent sections need not be written, a value that looks like JSON but is not valid is an error, and every
problem has a line.

A recipe may be anybody's: its size, its depth and the time that reading takes are bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from configparser import ConfigParser, DuplicateOptionError, DuplicateSectionError, ParsingError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit.config.references import node_of
from mmkit.config.values import as_list
from mmkit.data.file_kinds import looks_like
from mmkit.data.json_text import unique_fields
from mmkit.errors import RecipeError

Tree = dict[str, Any]

OF_A_RECIPE = re.compile(
    r"^[^\S\n]*\[(recipe|paths|backbones|data|annotators|model|metrics|training)\b", re.MULTILINE
)
"""What a file has that is meant as a recipe."""

SECTION = re.compile(r"\[(?P<name>[^\]]*)\]\s*$")
SECTION_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")
OPTION = re.compile(r"\s*+(?P<key>[^\s=:\[\"][^=:\"]*+)[=:]")
PLAIN_KEY = re.compile(r"@?[\w-][\w.-]*")

MOST_BYTES = 1_000_000
MOST_LINES = 20_000
MOST_BLANKS = 200
"""In a row. Parsing a line takes time that grows with their square."""
DEPTH = 16
"""Sections in sections."""
VALUE_DEPTH = 32
"""Lists and objects in one another."""


@dataclass(frozen=True)
class Source:
    """A parsed recipe with unresolved references. `lines` gives the line of each section and setting."""

    path: Path
    tree: Tree
    lines: Mapping[str, int]

    def line_of(self, dotted: str) -> int:
        """The line of a setting or section or, if it has none, of the section around it; 0 if neither has a line."""
        while dotted and dotted not in self.lines:
            dotted = dotted.rpartition(".")[0]
        return self.lines.get(dotted, 0)


def read(path: Path) -> Source:
    """Parse a recipe file. Raises `RecipeError` naming file and line."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise RecipeError(f"is not UTF-8 text: {error}", where=path, code="recipe.not-utf8") from error
    except OSError as error:
        raise RecipeError(
            f"cannot be read: {error.strerror}", where=path, code="recipe.unreadable"
        ) from error
    try:
        return parse(text, path)
    except RecipeError as error:
        looks = None if OF_A_RECIPE.search(text) else looks_like(path)
        if looks is None:
            raise
        raise RecipeError(
            f"this is not a recipe: the file looks like {looks.what}",
            where=path,
            hint="a recipe has sections such as [data.train], where a reader names its file; "
            "`mmkit new-plugin` writes one, and docs/recipes.md explains them",
            code="recipe.not-a-recipe",
        ) from error


def parse(text: str, path: Path) -> Source:
    """Parse a recipe's text; `path` is for messages. Raises `RecipeError`."""
    _check_bounds(text, path)
    prepared, lines = _prepare(text, path)
    raw = _raw_values(prepared, path)
    bad = [
        f"line {lines.get(f'{section}.{key}', 0)}: {section}.{key} {problem}"
        for section in raw.sections()
        for key, value in raw.items(section)
        if (problem := _not_a_value(value))
    ]
    for section in raw.sections():
        parent, _, name = section.rpartition(".")
        if section not in lines:
            bad.append(f"[{section}] must stand alone on its line and not be indented")
        elif raw.has_option(parent, name):
            bad.append(f"line {lines[section]}: {section} is a setting as well as a section")
    if bad:
        raise RecipeError("\n  ".join(bad), where=path, code="recipe.syntax")
    return Source(path, _tree(raw), lines)


def _check_bounds(text: str, path: Path) -> None:
    """Raise `RecipeError` for a text that is none of a recipe, by its size alone."""
    hint = "is it a recipe at all?"
    if len(text) > MOST_BYTES:
        what = f"is too long for a recipe: more than {MOST_BYTES:,} bytes"
        raise RecipeError(what, where=path, hint=hint, code="recipe.too-large")
    if text.count("\n") >= MOST_LINES:
        what = f"is too long for a recipe: more than {MOST_LINES:,} lines"
        raise RecipeError(what, where=path, hint=hint, code="recipe.too-large")
    if blanks := re.search(rf"[^\S\n]{{{MOST_BLANKS + 1}}}", text):
        number = text.count("\n", 0, blanks.start()) + 1
        what = f"there are more than {MOST_BLANKS} blanks in a row"
        raise RecipeError(what, where=f"{path}:{number}", hint=hint, code="recipe.too-large")


def _prepare(text: str, path: Path) -> tuple[list[tuple[int, str]], dict[str, int]]:
    """The text's numbered lines, without comments and with parent sections added; and the line of each name."""
    prepared: list[tuple[int, str]] = []
    lines: dict[str, int] = {}
    put_in: set[str] = set()
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        line = _uncommented(line)
        if header := SECTION.match(line):
            section = header["name"].strip()
            if not SECTION_NAME.fullmatch(section) or section == "DEFAULT":
                raise RecipeError(
                    f"[{section}] is not a section's name",
                    where=f"{path}:{number}",
                    code="recipe.section-name",
                )
            if section.count(".") >= DEPTH:
                raise RecipeError(
                    f"[{section[:60]}...] is too deep: sections stand in one another up to {DEPTH} times",
                    where=f"{path}:{number}",
                    code="recipe.too-deep",
                )
            if section in put_in:
                raise RecipeError(
                    f"[{section}] must come before the sections in it",
                    where=f"{path}:{number}",
                    code="recipe.section-order",
                )
            for parent in (parent for parent in _parents(section) if parent not in lines):
                prepared.append((number, f"[{parent}]"))
                put_in.add(parent)
                lines[parent] = number
            lines.setdefault(section, number)
        elif option := OPTION.match(line):
            lines.setdefault(f"{section}.{option['key'].rstrip()}", number)
        prepared.append((number, line))
    return prepared, lines


def _uncommented(line: str) -> str:
    """Everything of a line up to a ` #` that is not within quotes, in time that grows with its length."""
    if "#" not in line:
        return line.rstrip()
    closes = _closing_quotes(line) if '"' in line else []
    at = 0
    while at < len(line):
        if line[at] == '"' and closes[at + 1]:
            at = closes[at + 1]  # a text in quotes; a single quotation mark is one like other characters
        elif line[at] == "#" and at and line[at - 1].isspace():
            return line[:at].rstrip()
        at += 1
    return line.rstrip()


def _closing_quotes(line: str) -> list[int]:
    """For each place in a line, and the one after it, where a quoted text that goes on there would end; 0: nowhere."""
    closes = [0] * (len(line) + 3)
    for at in range(len(line) - 1, -1, -1):
        closes[at] = at if line[at] == '"' else closes[at + (2 if line[at] == "\\" else 1)]
    return closes


def _parents(section: str) -> list[str]:
    parts = section.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _raw_values(prepared: Sequence[tuple[int, str]], path: Path) -> ConfigParser:
    """The values as text."""
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string("\n".join(text for _, text in prepared))
    except (DuplicateSectionError, DuplicateOptionError) as error:
        name = getattr(error, "option", None) or f"[{error.section}]"
        number = prepared[(error.lineno or 1) - 1][0]
        raise RecipeError(
            f"{name} is here a second time", where=f"{path}:{number}", code="recipe.duplicate"
        ) from error
    except ParsingError as error:
        at = error.errors[0][0] if getattr(error, "errors", None) else getattr(error, "lineno", 1)
        number, line = prepared[at - 1]
        raise RecipeError(
            f"cannot be read: {line.strip()!r}",
            where=f"{path}:{number}",
            hint="write `[section]` or `key = value`, and indent the further lines of a value",
            code="recipe.syntax",
        ) from error
    return parser


def _not_a_value(raw: str) -> str:
    """What is wrong with a value's text: text needs no quotes, but a value that starts like JSON must be JSON."""
    if not raw:
        return 'has no value; write "" for an empty text and null for none'
    if raw[0] == "'":
        return "is in single quotes; write double ones"
    try:
        value = json.loads(raw, object_pairs_hook=unique_fields)
    except RecursionError:
        return f"is too deep: lists and objects stand in one another up to {VALUE_DEPTH} times"
    except ValueError as error:
        value = raw
        if raw[0] in '"[{':
            is_flat = raw[0] == "[" and raw[-1] == "]" and not set("[]{}") & set(raw[1:-1])
            return f"is not valid JSON ({error})" + (f"; write {as_list(raw)}" if is_flat else "")
    if _is_deeper(value, VALUE_DEPTH):
        return f"is too deep: lists and objects stand in one another up to {VALUE_DEPTH} times"
    return "" if _is_finite(value) else "contains a number that is not finite"


def _is_deeper(value: Any, most: int) -> bool:
    """Whether lists and objects stand in one another more than so many times."""
    level = [value]
    for _ in range(most):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(value, dict | list) for value in level)


def _is_finite(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _tree(raw: ConfigParser) -> Tree:
    """Nested sections, with parsed values."""
    tree: Tree = {}
    for (
        section
    ) in raw.sections():  # first, so that a section's sections come before its values, in their order
        node = tree
        for name in section.split("."):
            node = node.setdefault(name, {})
    for section in raw.sections():
        node_of(tree, section).update({key: _value(text) for key, text in raw.items(section)})
    return tree


PYTHONS = {"True": True, "False": False, "None": None}
"""Plain words, which are not JSON and not meant as JSON."""


def _value(text: str) -> Any:
    """A value in JSON or in Python's form; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return PYTHONS.get(text, text)
    except RecursionError:
        raise RecipeError("a value is nested too deeply", code="recipe.too-deep") from None


# -- overrides -----------------------------------------------------------------------------------------------


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """`["--training.epochs", "3", "--paths.data=x"]` as `{"training.epochs": 3, "paths.data": "x"}`.

    A value that is JSON is read as JSON, anything else as text. Raises `RecipeError` for other arguments.
    """
    overrides: dict[str, Any] = {}
    left = list(arguments)
    while left:
        option = left.pop(0)
        name, equals, value = option.removeprefix("--").partition("=")
        if not option.startswith("--") or not name:
            raise RecipeError(
                f"cannot read the argument {option!r}",
                hint="settings are overridden as --section.key value",
                code="recipe.override",
            )
        if not equals:
            if not left or re.match(r"--[\w-]+(\.|$)", left[0]):
                raise RecipeError(
                    f"{option} needs a value",
                    hint=f"{option} VALUE, or {option}=VALUE",
                    code="recipe.override",
                )
            value = left.pop(0)
        if problem := _twice(value):
            raise RecipeError(f"{option}: {problem}", hint="give it once", code="recipe.duplicate")
        overrides[name] = _value(value)
    return overrides


def _twice(text: str) -> str:
    """What stands twice in the JSON of an override; empty if nothing does."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return ""
    try:
        json.loads(text, object_pairs_hook=unique_fields)
    except ValueError as error:
        return str(error)
    return ""


def literal(value: Any) -> Any:
    """`value` with each `$` escaped, so that `resolve` returns it unchanged."""
    if isinstance(value, str):
        return re.sub(r"\$(?=[${])", "$$", value)
    if isinstance(value, list | tuple):
        return [literal(item) for item in value]
    if isinstance(value, Mapping):
        return {key: literal(item) for key, item in value.items()}
    return value


# -- writing -------------------------------------------------------------------------------------------------


def write(config: Tree) -> str:
    """The text of a recipe whose references are resolved; reading it gives `config` again."""
    return "\n\n".join(text for name, node in config.items() for text in _sections(name, node)) + "\n"


def _sections(name: str, node: Tree) -> list[str]:
    children = {key: value for key, value in node.items() if _is_section(key, value)}
    if any(isinstance(value, dict) and key not in children for key, value in node.items()):
        children = {}  # all or none: sections come after values, and the order of groups matters
    values = [f"{key} = {_json(value)}" for key, value in node.items() if key not in children]
    inner = [text for key, child in children.items() for text in _sections(f"{name}.{key}", child)]
    return ["\n".join([f"[{name}]", *values]), *inner]


def _is_section(key: str, value: Any) -> bool:
    """Whether a value is written as a section and not as JSON on one line."""
    named = isinstance(value, dict) and bool(value) and all(PLAIN_KEY.fullmatch(inner) for inner in value)
    return named and SECTION_NAME.fullmatch(key) is not None and "." not in key


def _json(value: Any) -> str:
    return json.dumps(literal(value), ensure_ascii=False, allow_nan=False)
