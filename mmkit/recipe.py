"""Recipes: one file names a part for each station. It is loaded, checked, filled in, and made into objects.

    recipe = load_recipe("hvpnet_twitter15.cfg", {"training.epochs": 3})
    reader = recipe.build("data.train")

A recipe cannot run code: it names registered parts and gives them plain values. Reference: docs/recipes.md.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from mmkit import hooks, registry
from mmkit.config.check import COLLECTIONS, FORMAT, FREE, check
from mmkit.config.mapping import source_of
from mmkit.config.packages import part_hint, setting_hint
from mmkit.config.parameters import MISSING
from mmkit.config.references import node_of, origin, resolve
from mmkit.config.settings import OPTIMIZERS, SCHEDULES, TrainingSettings
from mmkit.config.text import Source, Tree, literal, parse_overrides, read, write
from mmkit.config.upgrade import upgrade
from mmkit.config.values import Problem, Problems, construct, plain, shown
from mmkit.data.shares import Share, bounds_of
from mmkit.errors import PartError, RecipeError, did_you_mean
from mmkit.recipe_names import locate

__all__ = ["Recipe", "RecipeSource", "load_recipe", "parse_overrides"]


def load_recipe(source: RecipeSource, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Load a recipe: a path, the name of a recipe that comes with mmkit or a plugin, or a dictionary.

    A dictionary says what a file says: `{"model": {"fuser": {"@fusers": ...}}}`, or `{"model.fuser": {...}}`. A
    `Recipe` gets the overrides. `overrides` maps dotted names to JSON values (or paths and tuples). They are taken
    literally: a `${...}` in them is not a reference. Raises `RecipeError` with everything that is wrong.
    """
    if isinstance(source, Recipe):
        return source.with_overrides(overrides) if overrides else source
    content = source_of(source) if isinstance(source, Mapping) else read(locate(source))
    return Recipe(content, overrides or {})


RecipeSource: TypeAlias = "str | Path | Mapping[str, Any] | Recipe"
"""What a recipe is loaded from: a path, a name, a dictionary; or it is one."""


class Recipe:
    """A recipe that was checked: every part exists, every setting has its type.

    `config` is a nested dict of plain values: references resolved, overrides applied, defaults filled in.
    """

    def __init__(self, source: Source, overrides: Mapping[str, Any]) -> None:
        self._source, self._overrides = source, dict(overrides)
        self.path = source.path
        _check_format(source)
        self.config, problems = _checked(source.tree, self._overrides)
        for setting in [name for name in self.sample_overrides if self._is_replaced(name)]:
            del self.config["sample"][setting]  # its section is another one now, or gone
        if self.sample_settings:
            problems += _sample_problems(source.tree, self._overrides, self.sample_settings, problems)
        if problems:
            raise self._error(problems)

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def seed(self) -> int:
        seed: int = self.config["recipe"]["seed"]
        return seed

    @property
    def sample_overrides(self) -> dict[str, Any]:
        """`[sample]`: settings for `--sample`, by dotted name, without those of sections that an override replaces."""
        return dict(self.config.get("sample", {}))

    @property
    def sample_settings(self) -> dict[str, Any]:
        """`[sample]`, by dotted name, without the settings that an override sets, itself or with its whole section."""
        return {
            setting: value
            for setting, value in self.sample_overrides.items()
            if setting not in self._overrides and not self._is_replaced(setting)
        }

    def _is_replaced(self, setting: str) -> bool:
        """Whether an override replaces a whole section that this setting is in."""
        return any(setting.startswith(f"{name}.") for name in self._overrides)

    @property
    def overrides(self) -> dict[str, Any]:
        """The overrides that it was loaded with, by dotted name."""
        return dict(self._overrides)

    @cached_property
    def training(self) -> TrainingSettings:
        settings: TrainingSettings = construct(self.config["training"], TrainingSettings)
        return settings

    def parts(self, dotted: str) -> list[str]:
        """The names of the sections in a section that name a part, in the recipe's order; none if there are none."""
        return [
            name
            for name, value in self._within(dotted).items()
            if isinstance(value, dict) and any(key.startswith("@") for key in value)
        ]

    def has(self, dotted: str) -> bool:
        """Whether there is such a section, with something in it."""
        return bool(self._within(dotted))

    def settings(self, dotted: str) -> dict[str, Any]:
        """The settings of the part in a section, defaults included; none if there is no such section."""
        return {name: value for name, value in self._within(dotted).items() if not name.startswith("@")}

    def part(self, dotted: str, station: str) -> str:
        """The registered name of the part in a section (`data.train`, `readers`)."""
        return str(self._within(dotted)[f"@{station}"])

    def part_class(self, dotted: str, station: str) -> Any:
        """The class of the part in a section. Raises `PartError` if it can no longer be loaded."""
        return registry.get(station, self.part(dotted, station))

    def build(self, dotted: str) -> Any:
        """The part of a section (`model.fuser`, `data.train`), constructed with its settings.

        Raises `RecipeError` if there is no part in this section or its constructor refuses the settings.
        """
        node = self._within(dotted)
        station = next((key[1:] for key in node if key.startswith("@")), "")
        if not station:
            known = [f"{section}.{name}" for section in COLLECTIONS for name in self.parts(section)]
            raise RecipeError(
                f"there is no part at {dotted!r}",
                where=self.path,
                hint=did_you_mean(dotted, known),
                code="recipe.no-part",
            )
        settings = copy.deepcopy(self.settings(dotted))
        try:
            part = registry.build_part(station, node[f"@{station}"], settings)
        except (PartError, RecipeError) as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            where = f"{self.path}: [{dotted}]"
            raise RecipeError(what, where=where, hint=error.hint, code=error.code) from error
        return self._share(dotted.removeprefix("data."), part) if station == "readers" else part

    def _share(self, split: str, reader: Any) -> Any:
        """A reader of the split's share of its file, if other splits of `[data.shares]` name the same file."""
        shares = self._within("data").get("shares") or {}
        files = [self._file(other) for other in shares if other != split]
        if split not in shares or self._file(split) not in files:
            return reader
        return Share(reader, *bounds_of(shares, split))

    def _file(self, split: str) -> str:
        settings = self._within(f"data.{split}")
        return os.path.normpath(os.path.join(str(settings.get("root", "")), str(settings.get("file", ""))))  # noqa: PTH118

    def _within(self, dotted: str) -> Tree:
        """The content of a section; empty if there is no such section."""
        node: Any = self.config
        for name in dotted.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {}

    def with_overrides(self, overrides: Mapping[str, Any]) -> Recipe:
        """The recipe with more overrides, checked again. Later overrides win."""
        return Recipe(self._source, {**self._overrides, **overrides})

    def to_str(self) -> str:
        """The filled recipe's text; loading it gives the same `config`."""
        return write(self.config)

    def _error(self, problems: list[Problem]) -> RecipeError:
        in_order = sorted(self._once(problems), key=lambda p: self._line(p.path))
        lines = [f"{p.path}{self._place(p.path)}: {p}" for p in in_order]
        if len(lines) == 1:
            return RecipeError(lines[0], where=self.path, code="recipe.invalid")
        return RecipeError(
            f"{len(lines)} problems\n  " + "\n  ".join(lines), where=self.path, code="recipe.invalid"
        )

    def _once(self, problems: list[Problem]) -> list[Problem]:
        """The problems; one that others have only because they refer to its place is told at that place alone."""
        told: dict[tuple[str, str], Problem] = {}
        for problem in problems:
            setting = problem.path.partition("[")[0]
            written = origin(self._source.tree, setting)
            if written == setting or (written, str(problem)) not in told:
                told[written, str(problem)] = problem
        return list(told.values())

    def _place(self, dotted: str) -> str:
        setting = dotted.partition("[")[0]
        within = any(f"{setting}.".startswith(f"{name}.") for name in self._overrides)
        around = any(name.startswith(f"{setting}.") for name in self._overrides)
        line = self._line(dotted)
        if within or (around and not line):
            return " (override)"
        return f" (line {line})" if line else ""

    def _line(self, dotted: str) -> int:
        return self._source.line_of(dotted.partition("[")[0])


def _checked(tree: Tree, overrides: Mapping[str, Any]) -> tuple[Tree, list[Problem]]:
    problems = Problems()
    resolved = resolve(_overridden(tree, overrides, problems), problems)
    upgrade(resolved)
    for _ in hooks.call_each("mmkit_upgrade", recipe=resolved):
        pass  # it was changed in place
    config = check(resolved, problems)
    _check_name("optimizer", [*OPTIMIZERS, *known_optimizers()], config, problems)
    _check_name("schedule", [*SCHEDULES, *known_schedules()], config, problems)
    return config, [replace(p, hint=setting_hint(p.path) or p.hint) for p in problems.found]


def _check_name(setting: str, known: list[str], config: Tree, problems: Problems) -> None:
    """Refuse a name in `training` that neither the core nor a plugin knows."""
    name = config["training"].get(setting)
    if isinstance(name, str) and name not in known:
        hint = part_hint(name) or did_you_mean(name, known)
        problems.add(f"training.{setting}", f"there is no {setting} {shown(name)}", hint)


def known_optimizers() -> dict[str, str]:
    """The optimizers that plugins bring: name → `"module:Class"`."""
    return {
        name: target for _, found in hooks.call_each("mmkit_optimizers") for name, target in found.items()
    }


def known_schedules() -> dict[str, str]:
    """The schedules that plugins bring: name → `"module:function"`."""
    return {name: target for _, found in hooks.call_each("mmkit_schedules") for name, target in found.items()}


def _check_format(source: Source) -> None:
    """Refuse a recipe of a newer format at once: nothing else about it can be judged."""
    given = source.tree.get("recipe", {}).get("format")
    if isinstance(given, int) and given > FORMAT:
        raise RecipeError(
            f"the recipe has format {given}, and this mmkit knows {FORMAT}",
            where=source.path,
            hint="pip install --upgrade mmkit-core",
            code="recipe.format",
        )


def _sample_problems(
    tree: Tree, overrides: Mapping[str, Any], sample: Mapping[str, Any], known: list[Problem]
) -> list[Problem]:
    """Problems that exist only if `[sample]` is applied."""
    _, problems = _checked(tree, {**overrides, **sample})
    return [Problem(f"sample.{p.path}", p.what, p.hint) for p in problems if p not in known]


# -- overrides -----------------------------------------------------------------------------------------------


def _overridden(tree: Tree, overrides: Mapping[str, Any], problems: Problems) -> Tree:
    """A copy of the unresolved tree with overrides put in, so that references see them."""
    tree = copy.deepcopy(tree)
    # a setting of a section that is a reference comes last: what it refers to is then complete
    for dotted, given in sorted(overrides.items(), key=lambda item: _is_behind(tree, item[0])):
        value = plain(given)
        if value is MISSING:
            problems.add(dotted, f"cannot be {shown(given)}", "values of a recipe are JSON")
            continue
        section, _, key = dotted.rpartition(".")
        if dotted.startswith("sample."):
            section, key = "sample", dotted.removeprefix("sample.")
        node = _section(tree, section, dotted, overrides, problems) if section else tree
        if node is None:
            continue
        if not section and not isinstance(value, dict):
            problems.add(
                dotted, "there is no such option or setting", "a setting has its section: training.epochs"
            )
        elif section in FREE and key not in node:
            problems.add(dotted, "the recipe has no such setting", did_you_mean(key, node))
        else:
            node[key] = literal(value)
    return tree


def _section(
    tree: Tree, section: str, dotted: str, overrides: Mapping[str, Any], problems: Problems
) -> Tree | None:
    """The section of an override. A section for a part is only added if an override names the part."""
    node, at = tree, ""
    for name in section.split("."):
        parent, at = at, f"{at}.{name}" if at else name
        if name not in node:
            if parent in COLLECTIONS and at not in COLLECTIONS and not _names_part(at, overrides):
                problems.add(dotted, f"the recipe has no [{at}]", did_you_mean(name, node))
                return None
            node[name] = {}
        if isinstance(node[name], str) and (behind := origin(tree, at)) != at:
            node[name] = _copied(tree, behind, node[name])
        if not isinstance(node[name], dict):
            problems.add(dotted, f"{at} is a setting, not a section")
            return None
        node = node[name]
    return node


def _copied(tree: Tree, dotted: str, reference: str) -> Any:
    """A copy of the section that a `reference` leads to, so that an override can change it there alone."""
    try:
        found = node_of(tree, dotted)
    except KeyError:
        return reference
    return copy.deepcopy(found) if isinstance(found, dict) else reference


def _is_behind(tree: Tree, dotted: str) -> bool:
    """Whether a section that a setting stands in is a reference to another one."""
    section = dotted.rpartition(".")[0]
    return bool(section) and origin(tree, section) != section


def _names_part(section: str, overrides: Mapping[str, Any]) -> bool:
    return any(name.startswith(f"{section}.@") for name in overrides)
