"""Recipes of an older form, brought up to date: what the core changed here, what plugins did by `mmkit_upgrade`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Tree = dict[str, Any]


def upgrade(recipe: Tree) -> None:
    """Drop, in place, settings that are gone and were at the value that filled recipes say by default."""
    training = section(recipe, "training")
    if training.get("schedule_offset") == 0:
        del training["schedule_offset"]


def parts_named(recipe: Tree, station: str, name: str) -> Iterator[tuple[str, Tree]]:
    """The sections that name a part, with their dotted names: `@decoders = "mmkit.crf_tagger.v1"`, say.

    What is returned may be changed, which changes the recipe.
    """
    yield from list(_sections(recipe, "", f"@{station}", name))


def section(recipe: Tree, name: str) -> Tree:
    """A section at the top of a recipe, to be changed; an empty one, of no recipe, if it is none."""
    found = recipe.get(name)
    return found if isinstance(found, dict) else {}


def _sections(node: Tree, at: str, key: str, name: str) -> Iterator[tuple[str, Tree]]:
    if node.get(key) == name:
        yield at, node
    for child, value in node.items():
        if isinstance(value, dict):
            yield from _sections(value, f"{at}.{child}" if at else child, key, name)
