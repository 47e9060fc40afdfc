"""The shipped recipe that a new one starts from: that of a paper for a task, with its data taken out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmkit.errors import RecipeError, did_you_mean, listed
from mmkit.start.choices import Choices
from mmkit.start.shipped import Shipped, shipped

TEXT_ONLY = "text-only"
HEADER = re.compile(r"^\[([^\]]+)\]", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """A section of a recipe's text, with its header and the comments and empty lines behind it."""

    name: str
    text: str


def choose_paper(task: str, paper: str | None, pictures: bool, choices: Choices, where: Path) -> Shipped:
    """The recipe to start from. Raises `RecipeError` for a paper that has none for the task, or is not installed."""
    starts = [recipe for recipe in shipped() if recipe.start]
    fitting = {recipe.paper: recipe for recipe in starts if recipe.task == task}
    if paper is not None:
        return _named(paper, task, starts, fitting)
    if not fitting:
        raise RecipeError(
            f"no recipe that is installed is for {task}",
            where=where,
            hint="see `mmkit list-recipes`",
            code="init.paper",
        )
    ready = {name: recipe for name, recipe in fitting.items() if not recipe.missing.get("packages")}
    options = sorted(ready or fitting, key=lambda name: (name == TEXT_ONLY, name))
    default = 0
    if not pictures and TEXT_ONLY in options:
        default = options.index(TEXT_ONLY)
    others = [name for name in options if name != options[default]]
    why = f"the model is that of {options[default]}" + (
        "" if pictures or options[default] != TEXT_ONLY else ", because the posts have no pictures"
    )
    also = f"; --paper takes also {listed(sorted(others))}" if others else ""
    at = choices.choose("Which paper's model?", options, default=default, why=why + also)
    return (ready or fitting)[options[at]]


def _named(paper: str, task: str, starts: Sequence[Shipped], fitting: dict[str, Shipped]) -> Shipped:
    known = {_plain(recipe.paper): recipe.paper for recipe in starts}
    if _plain(paper) not in known:
        names = [name.lower() for name in known.values()]
        raise RecipeError(
            f"no recipe of a paper {paper!r} is installed to start from",
            hint=did_you_mean(paper.lower(), names),
            code="init.paper",
        )
    name = known[_plain(paper)]
    if name not in fitting:
        own = sorted({recipe.task for recipe in starts if recipe.paper == name})
        raise RecipeError(
            f"{name} has a recipe for {listed(own)}, but your data are for {task}",
            hint=f"papers for {task}: {', '.join(sorted(n.lower() for n in fitting)) or 'none'}",
            code="init.paper",
        )
    recipe = fitting[name]
    if missing := recipe.missing.get("packages"):
        raise RecipeError(
            f"{name} needs {listed(missing)}, which is not installed", hint=recipe.hints[0], code="init.paper"
        )
    return recipe


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def sections_of(file: Path) -> list[Section]:
    """The sections of a recipe's text, in order, without the comment at its beginning."""
    text = file.read_text(encoding="utf-8")
    starts = [*HEADER.finditer(text)]
    ends = [*(found.start() for found in starts[1:]), len(text)]
    return [Section(found[1], text[found.start() : end]) for found, end in zip(starts, ends, strict=True)]
