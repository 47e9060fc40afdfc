"""Older recipes, brought up to date: changes of the core here, those of plugins in `mmkit_upgrade`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Tree = dict[str, Any]


def upgrade(recipe: Tree) -> None:
    """Remove, in place, settings that no longer exist and have the value that filled recipes had by default."""
    training = section(recipe, "training")
    if training.get("schedule_offset") == 0:
        del training["schedule_offset"]


def parts_named(recipe: Tree, station: str, name: str) -> Iterator[tuple[str, Tree]]:
    """The sections that name a part (`@decoders = "mmkit.crf_tagger.v1"`), with their dotted names.

    Changing a returned section changes the recipe.
    """
    yield from list(_sections(recipe, "", f"@{station}", name))


def section(recipe: Tree, name: str) -> Tree:
    """A top-level section of a recipe, which may be changed; an empty dict if there is no such section."""
    found = recipe.get(name)
    return found if isinstance(found, dict) else {}


def _sections(node: Tree, at: str, key: str, name: str) -> Iterator[tuple[str, Tree]]:
    if node.get(key) == name:
        yield at, node
    for child, value in node.items():
        if isinstance(value, dict):
            yield from _sections(value, f"{at}.{child}" if at else child, key, name)
