"""A recipe from a dictionary, with the same content as a file: sections with parts and plain values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmkit.config.parameters import MISSING
from mmkit.config.text import DEPTH, SECTION_NAME, VALUE_DEPTH, Source, Tree
from mmkit.config.values import plain, shown
from mmkit.errors import RecipeError

NAME = Path("recipe")
"""What stands for the file in messages, and in the default run folder."""


def source_of(recipe: Mapping[str, Any]) -> Source:
    """A dictionary's content as that of a recipe file; no setting has a line.

    `{"model": {"fuser": {"@fusers": "mmkit.concat.v1"}}}` and `{"model.fuser": {"@fusers": ...}}` are the same. Values
    are JSON, paths and tuples; a `${section.key}` in them is a reference, as in a file. Raises `RecipeError` with
    everything that a file could not say.
    """
    problems: list[str] = []
    tree: Tree = {}
    for name, content in recipe.items():
        if not isinstance(name, str) or not SECTION_NAME.fullmatch(name) or name.count(".") >= DEPTH:
            problems.append(f"{shown(name)} is not a section's name")
        elif not isinstance(content, Mapping):
            problems.append(f'{name} is a setting without a section; write {{"section": {{"{name}": ...}}}}')
        else:
            _put(tree, name, content, problems)
    if problems:
        raise RecipeError("\n  ".join(problems), where=NAME, code="recipe.syntax")
    return Source(NAME, tree, {})


def _put(tree: Tree, section: str, content: Mapping[str, Any], problems: list[str]) -> None:
    """Put a section in its place; `section` may be dotted, and may be there already with other content."""
    node: Any = tree
    for name in section.split("."):
        node = node.setdefault(name, {})
        if not isinstance(node, dict):
            problems.append(f"{section} is a setting as well as a section")
            return
    for name, kept in _value(content, section, 0, problems).items():
        if name in node:
            problems.append(f"{section}.{name} is here a second time")
        else:
            node[name] = kept


def _value(value: Any, at: str, depth: int, problems: list[str]) -> Any:
    """A value, or a section, as plain JSON; `MISSING` for what is none, which is added to `problems`."""
    if depth > VALUE_DEPTH:
        problems.append(
            f"{at} is too deep: sections and lists stand in one another up to {VALUE_DEPTH} times"
        )
        return MISSING
    if isinstance(value, Mapping):
        items = {}
        for name, inner in value.items():
            if not isinstance(name, str):
                problems.append(f"{at}: the name of a setting is text, not {shown(name)}")
                continue
            items[name] = _value(inner, f"{at}.{name}", depth + 1, problems)
        return {name: kept for name, kept in items.items() if kept is not MISSING}
    if isinstance(value, list | tuple):
        inners = [_value(inner, at, depth + 1, problems) for inner in value]
        return [kept for kept in inners if kept is not MISSING]
    kept = plain(value)
    if kept is MISSING:
        problems.append(f"{at} cannot be {shown(value)}; values of a recipe are JSON")
    return kept
