"""Checks of a recipe: its sections, the parts in them, and everything that can be wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement

from mmkit import registry
from mmkit.config.entities import EntitySettings
from mmkit.config.packages import distribution_of, install_hint, known_packages
from mmkit.config.parameters import parameters, takes_any
from mmkit.config.settings import TrainingSettings
from mmkit.config.values import UNRESOLVED, Problems, fit_arguments
from mmkit.errors import PartError, did_you_mean

FORMAT = 1
Tree = dict[str, Any]


@dataclass
class RecipeSettings:
    """`[recipe]`: `requires` lists packages, each with an optional version (`mmkit-hvpnet>=0.1`).

    `tiny` says that the encoders are tiny untrained stand-ins; `--tiny` sets it.
    """

    format: int
    requires: list[str] = field(default_factory=list)
    seed: int = 0
    tiny: bool = False


@dataclass
class AboutSettings:
    """`[about]`: what a recipe is for, as `mmkit list-recipes` shows it. It changes no result.

    `keys` lists environment variables that hold a key which the recipe needs. `start` marks the recipe from which
    `mmkit init` starts, for its paper and task.
    """

    paper: str = ""
    task: str = ""
    dataset: str = ""
    keys: list[str] = field(default_factory=list)
    start: bool = False


@dataclass
class DataSettings:
    """`[data]`, without its splits. Missing or broken images are an error, or are encoded as blank ones.

    `shares` says how large a part of one file belongs to each of the splits that name it (`mmkit.data.shares`).
    """

    missing_images: Literal["error", "blank"] = "error"
    shares: dict[str, float] | None = None


SPLITS = ("train", "dev", "test", "entities")
SHARED = ("train", "dev", "test")
"""Splits that may be parts of one file."""
FREE = ("paths", "backbones")
"""Sections whose settings have names of the recipe's own, for references."""
SECTIONS = ("recipe", "about", *FREE, "data", "annotators", "model", "metrics", "training", "sample")
COLLECTIONS = (
    "data",
    "annotators",
    "model",
    "model.encoders",
    "model.entities",
    "model.entities.encoders",
    "metrics",
)
"""Sections whose subsections each name a part, so that overriding a setting cannot add a subsection."""

AT_LEAST = {
    "epochs": 1, "batch_size": 1, "accumulate": 1, "eval_batch_size": 1, "learning_rate": 0,
    "weight_decay": 0, "warmup": 0, "clip": 0, "eval_from": 1, "eval_epochs": 1, "eval_every": 0, "patience": 0,
    "checkpoint_every": 0, "check_every": 1, "log_every": 1, "workers": 0, "bucket": 1, "feature_memory": 0,
}  # fmt: skip


def check(tree: Tree, problems: Problems) -> Tree:
    """The recipe with every default filled in. What is wrong with it is added to `problems`."""
    for name in tree:
        if name not in SECTIONS:
            problems.add(name, "there is no such section", did_you_mean(name, SECTIONS))
    if "recipe" not in tree:
        problems.add("recipe", "this section is missing", f"begin with [recipe] and format = {FORMAT}")
    config: Tree = {
        "recipe": _settings(RecipeSettings, tree.get("recipe", {"format": FORMAT}), "recipe", problems)
    }
    _check_requirements(config["recipe"], problems)
    if "about" in tree:
        config["about"] = _settings(AboutSettings, tree["about"], "about", problems)
    config |= {name: _free(tree[name], name, problems) for name in FREE if name in tree}
    config["data"] = _data(tree.get("data", {}), problems)
    config["annotators"] = _slots(tree.get("annotators", {}), "annotators", "annotators", problems)
    config["model"] = _model(tree.get("model", {}), problems)
    config["metrics"] = _slots(tree.get("metrics", {}), "metrics", "metrics", problems)
    config["training"] = _settings(TrainingSettings, tree.get("training", {}), "training", problems)
    _check_training(config["training"], config["metrics"], problems)
    if "dev" in config["data"] and not config["training"].get("score"):
        example = next(iter(config["metrics"]), "spans")
        problems.add(
            "training.score", "is missing: data.dev is scored with it", f'for example "{example}.f1"'
        )
    if "sample" in tree:
        config["sample"] = _sample(tree["sample"], problems)
    return config


def _settings(kind: type, given: Any, at: str, problems: Problems) -> Tree:
    return fit_arguments(given, parameters(kind), at, problems)


def _free(given: Tree, at: str, problems: Problems) -> Tree:
    """A section whose settings are the recipe's own names."""
    for name in (name for name, value in given.items() if isinstance(value, dict)):
        problems.add(f"{at}.{name}", "this section contains settings only, not sections")
    return given


def _sample(given: Tree, problems: Problems) -> Tree:
    """`[sample]`: dotted names; they are checked by applying them."""
    for name in (name for name in given if "." not in name):
        problems.add(
            f"sample.{name}", "there is no such setting", "a setting has its section: training.epochs = 3"
        )
    return {name: value for name, value in given.items() if "." in name}


# -- slots ---------------------------------------------------------------------------------------------------


def _data(given: Tree, problems: Problems) -> Tree:
    sections = {name: value for name, value in given.items() if name != "shares"}
    splits = {name: value for name, value in sections.items() if name in SPLITS or isinstance(value, dict)}
    rest = {name: value for name, value in given.items() if name not in splits}
    filled = _settings(DataSettings, rest, "data", problems)
    _check_shares(filled.get("shares"), given, problems)
    for name, value in splits.items():
        if name in SPLITS:
            filled[name] = _part(value, "readers", f"data.{name}", problems)
        else:
            problems.add(f"data.{name}", "there is no such section", did_you_mean(name, SPLITS))
    _need("train", given, "readers", "data", problems)
    return filled


def _check_shares(shares: Any, given: Tree, problems: Problems) -> None:
    for name, share in shares.items() if isinstance(shares, dict) else ():
        at = f"data.shares.{name}"
        if name not in SHARED:
            problems.add(at, "is not a split of examples", did_you_mean(name, SHARED))
        elif name not in given:
            problems.add(at, f"there is no [data.{name}]", f"add [data.{name}], or leave the share out")
        elif _is_number(share) and share <= 0:
            problems.add(
                at, f"must be more than 0, not {share}", "shares are parts of a whole: 80, 10 and 10"
            )


def _model(given: Tree, problems: Problems) -> Tree:
    filled: Tree = {}
    known = ("encoders", "fuser", "decoder", "entities")
    for name in given:
        if name not in known:
            problems.add(f"model.{name}", "there is no such section", did_you_mean(name, known))
    filled["encoders"] = _slots(given.get("encoders", {}), "encoders", "model.encoders", problems)
    if not given.get("encoders"):
        problems.add("model.encoders", "a model needs at least one encoder", "add [model.encoders.text]")
    for name in ("fuser", "decoder"):
        _need(name, given, f"{name}s", "model", problems)
        if name in given:
            filled[name] = _part(given[name], f"{name}s", f"model.{name}", problems)
    if "entities" in given:
        filled["entities"] = _entities(given["entities"], problems)
    return filled


def _entities(given: Any, problems: Problems) -> Tree:
    """`[model.entities]`: settings, and the parts that make entities comparable."""
    at = "model.entities"
    if not isinstance(given, dict):
        problems.add(at, "must be a section")
        return {}
    stations = {"fuser": "fusers", "scorer": "scorers", "reranker": "scorers"}
    settings = {name: value for name, value in given.items() if name not in ("encoders", *stations)}
    filled = _settings(EntitySettings, settings, at, problems)
    for name in ("batch_size", "block", "refresh", "depth"):
        _check_at_least(f"{at}.{name}", filled.get(name), 1, problems)
    filled["encoders"] = _slots(given.get("encoders", {}), "encoders", f"{at}.encoders", problems)
    for name, station in stations.items():
        if name in given:
            filled[name] = _part(given[name], station, f"{at}.{name}", problems)
    return filled


def _need(name: str, given: Tree, station: str, at: str, problems: Problems) -> None:
    if name not in given:
        problems.add(f"{at}.{name}", "this section is missing", f'add [{at}.{name}] with @{station} = "..."')


def _slots(given: Any, station: str, at: str, problems: Problems) -> Tree:
    """A section whose subsections, freely named, each hold a part of one station."""
    if not isinstance(given, dict):
        problems.add(at, "must be a section")
        return {}
    return {name: _part(value, station, f"{at}.{name}", problems) for name, value in given.items()}


def _part(given: Any, station: str, at: str, problems: Problems) -> Tree:
    """A section that names a part (`@fusers = "..."`) and gives its settings."""
    if given is UNRESOLVED:
        return {}
    if not isinstance(given, dict):
        problems.add(at, f'must be a section with @{station} = "..."')
        return {}
    key = f"@{station}"
    for other in (k for k in given if k.startswith("@") and k != key):
        problems.add(
            f"{at}.{other}", f"does not belong here: this section takes one of the {station}, {key} = ..."
        )
    if key not in given:
        if not any(k.startswith("@") for k in given):
            problems.add(at, f'{key} = "..." is missing', _names(station))
        return dict(given)
    name = given[key]
    if name is UNRESOLVED:
        return dict(given)
    try:
        part = registry.get(station, name) if isinstance(name, str) else None
    except PartError as error:
        what = f"{error.where} {error.what}" if error.where else error.what
        problems.add(f"{at}.{key}", what, error.hint)
        return dict(given)
    if part is None:
        problems.add(f"{at}.{key}", "must be a part's name", _names(station))
        return dict(given)
    settings = {k: value for k, value in given.items() if not k.startswith("@")}
    return {key: name, **fit_arguments(settings, parameters(part), at, problems, free=takes_any(part))}


def _names(station: str) -> str:
    return f"known: {', '.join(registry.ALL[station].names())}"


# -- meaning -------------------------------------------------------------------------------------------------


def _check_requirements(settings: Tree, problems: Problems) -> None:
    _check_at_least("recipe.format", settings.get("format"), 1, problems)
    seed = settings.get("seed")
    if isinstance(seed, int) and not 0 <= seed < 2**32:
        problems.add("recipe.seed", f"must be from 0 to {2**32 - 1}, not {seed}")
    requires = settings.get("requires")
    for text in requires if isinstance(requires, list) else ():
        if isinstance(text, str):
            _check_requirement(text, problems)


def _check_requirement(text: str, problems: Problems) -> None:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        problems.add("recipe.requires", f'"{text}" is not a package', 'write "name" or "name>=1.0"')
        return
    hint = install_hint(requirement.name, text)
    try:
        installed = version(distribution_of(requirement.name))
    except PackageNotFoundError:
        known = [package.package for package in known_packages()]
        near = get_close_matches(requirement.name, known, n=1, cutoff=0.9)  # all names begin alike
        if near and requirement.name not in known:
            hint = f"did you mean {near[0]!r}? Otherwise {hint}"
        problems.add("recipe.requires", f"{requirement.name} is not installed", hint)
        return
    if not requirement.specifier.contains(installed, prereleases=True):
        problems.add(
            "recipe.requires",
            f"{requirement} is needed, but {installed} is installed",
            hint,
        )


def _check_training(settings: Tree, metrics: Tree, problems: Problems) -> None:
    """Numbers that make no sense, invalid patterns, and a score that no metric gives."""
    for name, least in AT_LEAST.items():
        _check_at_least(f"training.{name}", settings.get(name), least, problems)
    if _is_number(settings.get("feature_memory")) and settings["feature_memory"] > 1:
        problems.add("training.feature_memory", f"is a fraction, at most 1, not {settings['feature_memory']}")
    size, parts = settings.get("batch_size"), settings.get("accumulate")
    if type(size) is int and type(parts) is int and 1 <= size < parts:
        problems.add("training.accumulate", f"cannot cut batches of {size} into {parts}")
    first, last = settings.get("eval_from"), settings.get("epochs", TrainingSettings.epochs)
    if type(first) is int and type(last) is int and 1 <= last < first:
        problems.add(
            "training.eval_from",
            f"no epoch would be scored: {first} is beyond the last of {last}",
            f"lower it (--training.eval_from {last}), or raise training.epochs",
        )
    betas = settings.get("betas")
    if isinstance(betas, list) and all(map(_is_number, betas)) and not _are_betas(betas):
        problems.add("training.betas", f"must be two numbers from 0 up to 1, not {betas}")
    _check_pattern("training.no_decay", settings.get("no_decay"), problems)
    groups = settings.get("groups")
    for name, group in groups.items() if isinstance(groups, dict) else ():
        if isinstance(group, dict):
            _check_pattern(f"training.groups.{name}.pattern", group.get("pattern"), problems)
            for rate in ("learning_rate", "weight_decay"):
                _check_at_least(f"training.groups.{name}.{rate}", group.get(rate), 0, problems)
    score = settings.get("score")
    for figure in score if isinstance(score, dict) else [score]:
        _check_figure(figure, metrics, problems)


def _are_betas(betas: list[float]) -> bool:
    return len(betas) == 2 and all(0 <= beta < 1 for beta in betas)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_at_least(at: str, value: Any, least: float, problems: Problems) -> None:
    if _is_number(value) and value < least:
        problems.add(at, f"must be at least {least}, not {value}")


def _check_pattern(at: str, pattern: Any, problems: Problems) -> None:
    try:
        re.compile(pattern if isinstance(pattern, str) else "")
    except re.error as error:
        problems.add(at, f'"{pattern}" is not a regular expression: {error}')


def _check_figure(figure: Any, metrics: Mapping[str, Any], problems: Problems) -> None:
    if not isinstance(figure, str) or not figure:
        return
    metric, dot, name = figure.partition(".")
    if metric not in metrics:
        problems.add(
            "training.score", f'there is no [metrics.{metric}] for "{figure}"', did_you_mean(metric, metrics)
        )
    elif not (dot and name):
        problems.add(
            "training.score",
            f'"{figure}" names a metric; add the name of a score',
            f'for example "{metric}.f1"',
        )
