"""The recipes that come with mmkit and its plugins: what each is for, and what it lacks on this machine.

Recipes are read as text and not checked against their parts, so nothing is imported and this takes little time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from mmkit.config.check import SPLITS
from mmkit.config.packages import distribution_of, install_hint, is_installed
from mmkit.config.references import resolve
from mmkit.config.text import Tree, read
from mmkit.config.values import Problems
from mmkit.errors import RecipeError
from mmkit.recipe_names import known_recipes

BUILT = ("run", "index")
"""Settings of encoders and annotators that name what is made before: a trained run, an index."""


@dataclass(frozen=True)
class Shipped:
    """A recipe: what it is for, by its `[about]`, its pretrained networks, and what is missing here.

    `missing` maps packages, data, weights, runs, indexes and keys to names. Missing weights are downloaded by the first
    training. `broken` says why the recipe cannot be read.
    """

    name: str
    file: Path
    title: str = ""
    task: str = ""
    dataset: str = ""
    paper: str = ""
    start: bool = False
    backbones: tuple[str, ...] = ()
    missing: dict[str, list[str]] = field(default_factory=dict)
    hints: tuple[str, ...] = ()
    broken: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "file": str(self.file),
            "title": self.title,
            "task": self.task,
            "dataset": self.dataset,
            "paper": self.paper,
            "backbones": list(self.backbones),
            "missing": self.missing,
            "hints": list(self.hints),
            **({"broken": self.broken} if self.broken else {}),
        }


def shipped() -> list[Shipped]:
    """All known recipes, by name."""
    found = [_described(file) for files in known_recipes().values() for file in files]
    return sorted(found, key=lambda recipe: (recipe.name, str(recipe.file)))


def _described(file: Path) -> Shipped:
    problems = Problems()
    try:
        tree = resolve(read(file).tree, problems)
    except RecipeError as error:
        return Shipped(file.stem, file, broken=error.what)
    about = _section(tree, "about")
    missing = {kind: names for kind, names in _missing(tree) if names}
    return Shipped(
        file.stem,
        file,
        title=_title(file),
        task=str(about.get("task", "")),
        dataset=str(about.get("dataset", "")),
        paper=str(about.get("paper", "")),
        start=about.get("start") is True,
        backbones=tuple(_backbones(tree)),
        missing=missing,
        hints=tuple(install_hint(package) for package in missing.get("packages", ())),
    )


def _title(file: Path) -> str:
    """The comment with which a recipe begins, up to the end of its first line."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        first = next(lines, "")
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def _section(tree: Tree, name: str) -> Tree:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


def _sections(tree: Tree, *dotted: str) -> Iterator[Tree]:
    """The sections in each of some sections."""
    for name in dotted:
        node: Any = tree
        for part in name.split("."):
            node = node.get(part, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            yield from (section for section in node.values() if isinstance(section, dict))


def _backbones(tree: Tree) -> list[str]:
    """The pretrained networks that a recipe names."""
    named = [section.get("name") for section in _sections(tree, "model.encoders", "model.entities.encoders")]
    return list(
        dict.fromkeys(n for n in [*_section(tree, "backbones").values(), *named] if isinstance(n, str))
    )


def _missing(tree: Tree) -> Iterator[tuple[str, list[str]]]:
    yield "packages", [p for p in _required(tree) if not is_installed(distribution_of(p))]
    data = _section(tree, "data")
    files = [
        Path(str(data[split].get("root", "."))) / str(data[split].get("file", ""))
        for split in SPLITS
        if isinstance(data.get(split), dict)
    ]
    yield "data", [str(file) for file in dict.fromkeys(files) if not file.exists()]
    yield "weights", [name for name in _backbones(tree) if not Path(name).exists() and not _downloaded(name)]
    for kind, plural in zip(BUILT, ("runs", "indexes"), strict=True):
        named = [section.get(kind) for section in _sections(tree, "model.encoders", "annotators")]
        yield plural, [n for n in dict.fromkeys(named) if isinstance(n, str) and not Path(n).exists()]
    keys = _section(tree, "about").get("keys")
    yield (
        "keys",
        [k for k in keys if isinstance(k, str) and not os.environ.get(k)] if isinstance(keys, list) else [],
    )


def _required(tree: Tree) -> Iterator[str]:
    requires = _section(tree, "recipe").get("requires")
    for text in requires if isinstance(requires, list) else ():
        try:
            yield Requirement(str(text)).name
        except InvalidRequirement:
            yield str(text)


def _downloaded(name: str) -> bool:
    """Whether the Hub's cache has files of a model; timm's names are those of the Hub's `timm`."""
    home = Path(os.environ.get("HF_HOME") or _user_cache() / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return any(
        (cache / f"models--{full.replace('/', '--')}" / "snapshots").is_dir()
        for full in (name, f"timm/{name}")
    )


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
