"""Recipes by name: the folders that they come from, and the file that a name or a path means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mmkit import hooks
from mmkit.errors import RecipeError, near_misses


def recipe_folders() -> list[Path]:
    """Where recipes come from: mmkit's own folder, and those of plugins."""
    package = Path(__file__).resolve().parent
    installed, checkout = package / "recipes", package.parent / "recipes"
    folders = [installed if installed.is_dir() else checkout]
    for plugin, its_folders in hooks.call_each("mmkit_recipe_folders"):
        try:
            folders += [Path(folder).resolve() for folder in its_folders]
        except TypeError:
            hooks.broken[plugin] = f"mmkit_recipe_folders must return a list of paths, not {its_folders!r}"
    return list(dict.fromkeys(folders))


def known_recipes() -> dict[str, list[Path]]:
    """File name → the recipes of that name. Copies of one (a package's and the repository's) are one."""
    known: dict[str, list[Path]] = {}
    for folder in recipe_folders():
        for file in sorted(folder.glob("*.cfg")):
            same_name = known.setdefault(file.name, [])
            if not any(file.read_bytes() == other.read_bytes() for other in same_name):
                same_name.append(file)
    return known


def recipes_with(section: str, like: str = "") -> list[str]:
    """Names of known recipes that have a section, or one within it; first those that share words with `like`."""
    header = re.compile(rf"^\[{re.escape(section)}[.\]]", re.MULTILINE)
    words = set(like.split("_"))
    found = {
        file.stem
        for files in known_recipes().values()
        for file in files
        if header.search(file.read_text(encoding="utf-8", errors="replace"))
    }
    return sorted(found, key=lambda name: (-len(words & set(name.split("_"))), name))


def _recipes_in(folder: Path) -> str:
    """Which recipe may be meant by a folder."""
    if (folder / "recipe.cfg").is_file():
        return (
            f"this is a run: score it with `mmkit evaluate {folder}`; its recipe is {folder / 'recipe.cfg'}"
        )
    names = sorted(file.name for file in folder.glob("*.cfg"))
    if names:
        return f"there is {', '.join(names[:SHOWN])} in it"
    return "name a recipe: a file, or one that comes with mmkit"


SHOWN = 3
"""Recipes of a folder that are named in a hint."""


def shadowed(source: str | Path) -> Path | None:
    """The recipe called `source` that comes with mmkit or a plugin, if a file of this folder is used instead."""
    path = Path(source)
    here = _here(path)
    if here is None or path.parent != Path() or path.is_absolute():
        return None
    others = known_recipes().get(here.name, [])
    return next((other for other in others if other.read_bytes() != here.read_bytes()), None)


def _here(path: Path) -> Path | None:
    """The file that a path means, or a name without its ending."""
    named = (
        [path] if path.suffix == ".cfg" else [path, path.with_name(f"{path.name}.cfg")] if path.name else []
    )
    return next((file for file in named if file.is_file()), None)


def locate(source: str | Path) -> Path:
    """The file of a recipe: a path, with or without `.cfg`, or the name of one that comes with mmkit or a plugin.

    Raises `RecipeError` if there is none, if there are several, or for a folder.
    """
    path = Path(source)
    if (here := _here(path)) is not None:
        return here
    if path.is_dir() and not (path.parent == Path() and f"{path.name}.cfg" in known_recipes()):
        raise RecipeError(
            "is a folder, not a recipe", where=path, hint=_recipes_in(path), code="recipe.is-a-folder"
        )
    known = known_recipes()
    name = path.name if path.suffix else f"{path.name}.cfg"
    found = known.get(name, []) if path.parent == Path() else []
    if len(found) == 1:
        return found[0]
    if found:
        raise RecipeError(
            f"several recipes are called {name}: {', '.join(map(str, found))}",
            hint="give the path of one",
            code="recipe.ambiguous",
        )
    raise RecipeError(
        "there is no such recipe", where=path, hint=_instead(path, known), code="recipe.missing"
    )


def _instead(path: Path, known: Iterable[str]) -> str:
    """What may be meant by a path or name that is no recipe."""
    # names are compared without their ending, which would make all of them similar
    shown = {Path(name).stem: Path(name).stem for name in known}
    if path.stem in shown:
        return f"did you mean {path.stem!r}?"
    shown |= {file.stem: str(file) for file in path.parent.glob("*.cfg")}
    if near := near_misses(path.stem, shown):
        return "did you mean " + " or ".join(repr(shown[name]) for name in near) + "?"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    return (
        "`mmkit list-recipes` lists those that come with mmkit, `mmkit init FOLDER` writes one for your data"
    )
