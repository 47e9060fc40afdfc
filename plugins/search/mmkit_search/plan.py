"""A recipe and its space: read from a file or a command line, and checked before the first trial."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from mmkit import Recipe, RecipeError
from mmkit.config.text import parse_overrides, read
from mmkit.errors import gathered
from mmkit_search.space import FORMS, Choices, Range, Space, parse_space

NOT_SEARCHED = (
    "data",
    "paths",
    "metrics",
    "sample",
    "about",
    "recipe.format",
    "recipe.requires",
    "training.score",
)
"""What decides what is scored, and how. Scores of trials that differ in it could not be compared."""


class Given(NamedTuple):
    """A setting as it was given: its value, and the place for messages."""

    value: Any
    where: str


@dataclass(frozen=True)
class Plan:
    """What is to be searched."""

    recipe: Recipe
    """With all fixed settings."""
    space: Mapping[str, Space]
    distributions: Mapping[str, BaseDistribution]
    """Choices are JSON texts."""

    def recipe_of(self, params: Mapping[str, Any]) -> Recipe:
        """The recipe of a trial. Raises `RecipeError` if it refuses settings that are tried together."""
        return self.recipe.with_overrides(self.settings_of(params))

    def settings_of(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's settings as JSON values, from Optuna's values."""
        return {
            name: json.loads(value) if isinstance(self.space[name], Choices) else value
            for name, value in params.items()
        }


def split_words(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """What follows RECIPE on a command line: the space's file if there is one, and `--section.key=value` texts.

    A value may be of several words: `--training.learning_rate 1e-5..1e-3 log`.
    """
    left = list(words)
    file = Path(left.pop(0)) if left and not left[0].startswith("--") else None
    settings: list[str] = []
    while left:
        name, equals, value = left.pop(0).partition("=")
        values = [value] if equals else []
        while left and not left[0].startswith("--"):
            values.append(left.pop(0))
        settings.append(f"{name}={' '.join(values)}" if values else name)
    return file, settings


def read_given(file: Path | None, words: Sequence[str]) -> dict[str, Given]:
    """All settings of a space's file and of a command line, which wins. Raises `RecipeError`."""
    given: dict[str, Given] = {}
    if file is not None:
        source = read(file)
        for name, value in _leaves("", source.tree):
            given[name] = Given(value, f"{file}:{source.line_of(name)}: {name}")
    overrides = parse_overrides(words)
    return given | {name: Given(value, f"--{name}") for name, value in overrides.items()}


def _leaves(at: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{at}.{key}" if at else key
        if isinstance(value, dict):
            yield from _leaves(name, value)
        else:
            yield name, value


def fixed_words(given: Mapping[str, Given]) -> list[str]:
    """The plain settings, as a command line has them. Lists are not among them: they may be choices."""
    return [
        f"--{name}={json.dumps(one.value)}"
        for name, one in given.items()
        if not isinstance(one.value, list) and _is_plain(one.value)
    ]


def _is_plain(value: Any) -> bool:
    """Whether a value describes no space; one that is wrong is reported with all others by `make_plan`."""
    try:
        return parse_space(value) is None
    except RecipeError:
        return False


def make_plan(recipe: Recipe, given: Mapping[str, Given]) -> Plan:
    """The plan for a recipe that has the plain settings already. Raises `RecipeError` with all that is wrong."""
    if "dev" not in recipe.parts("data"):
        raise RecipeError(
            "the recipe has no [data.dev], and trials are compared by their scores on it",
            where=recipe.path,
            hint="add [data.dev], and training.score",
            code="search.no-dev",
        )
    space: dict[str, Space] = {}
    errors: list[RecipeError] = []
    for name, one in given.items():
        if isinstance(one.value, list) and _accepts(recipe, name, one.value):
            recipe = recipe.with_overrides({name: one.value})
            continue
        try:
            found = parse_space(one.value)
            if found is not None:
                _check(recipe, name, found)
                space[name] = found
        except RecipeError as error:
            errors.append(error.at(one.where))
    if errors:
        raise gathered(errors)
    if not space:
        raise RecipeError(
            "no setting has a range or choices", hint=f"for --section.key {FORMS}", code="search.nothing"
        )
    for at in (0, -1):
        together = {name: found.ends[at] for name, found in space.items()}
        try:
            recipe.with_overrides(together)
        except RecipeError as error:
            what = f"the recipe refuses these settings together: {error.what}"
            raise RecipeError(what, where=error.where, hint=error.hint, code="search.together") from error
    return Plan(recipe, space, {name: _distribution(recipe, name, found) for name, found in space.items()})


def _check(recipe: Recipe, name: str, space: Space) -> None:
    """See that a setting may be searched, and that the recipe accepts the ends of its space. Raises `RecipeError`."""
    for section in NOT_SEARCHED:
        if name == section or name.startswith(f"{section}."):
            raise RecipeError(
                f"{section} decides what is scored, so trials that differ in it cannot be compared",
                hint="set it to one value",
                code="search.not-searched",
            )
    for value in space.ends:
        try:
            recipe.with_overrides({name: value})
        except RecipeError as error:
            ranged = isinstance(space, Range) and _has(recipe, name)
            hint = "a range is for settings that take numbers; choices are written a | b" if ranged else ""
            raise error.at("", error.hint or hint) from None


def _has(recipe: Recipe, name: str) -> bool:
    """Whether the filled recipe has a setting of this name."""
    found: Any = recipe.config
    for key in name.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return False
        found = found[key]
    return True


def _accepts(recipe: Recipe, name: str, value: Any) -> bool:
    try:
        recipe.with_overrides({name: value})
    except RecipeError:
        return False
    return True


def _distribution(recipe: Recipe, name: str, space: Space) -> BaseDistribution:
    """Optuna's form. Whole numbers are meant as such only if the setting takes no others: 0..1 may be a dropout."""
    if isinstance(space, Choices):
        return CategoricalDistribution([json.dumps(value, sort_keys=True) for value in space.values])
    if space.is_whole and not _accepts(recipe, name, space.low + 0.5):
        return IntDistribution(int(space.low), int(space.high), log=space.log, step=int(space.step or 1))
    step = None if space.step is None else float(space.step)
    return FloatDistribution(float(space.low), float(space.high), log=space.log, step=step)
