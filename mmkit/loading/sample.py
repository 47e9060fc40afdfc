"""`--sample`: any recipe on a small synthetic dataset with tiny stand-in encoders, offline and deterministic."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.cache import cache_dir
from mmkit.config.packages import DISTRIBUTION
from mmkit.errors import PartError, RecipeError
from mmkit.files import written_once
from mmkit.loading.stand_ins import SEED, settings_of_start, stand_ins, start_recipe
from mmkit.recipe import load_recipe

if TYPE_CHECKING:
    from mmkit.recipe import Recipe, RecipeSource

LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_ERROR_FILE")
"""What a launcher of several processes says to each of them in its environment."""

Tell = Callable[[str], None]


def sampled(recipe: RecipeSource, tell: Tell = lambda message: None) -> Recipe:
    """The recipe with its data and pretrained models replaced by the sample's, and with the settings of `[sample]`.

    The recipe's own overrides of settings win over `[sample]`; data and pretrained models are always replaced.

    Each reader writes a dataset in its own format, and each encoder a tiny untrained model, both into the cache; they
    are made once. Runs that the recipe builds on are trained first, on their samples, and are also cached; `tell`
    gets a message about it. `recipe` is as for `mmkit.load_recipe`. Raises `PartError` for a reader without a sample.
    """
    recipe = load_recipe(recipe)
    settings = recipe.sample_settings
    overrides: dict[str, Any] = {"data.shares": None}  # a sample has a file for each split
    written: dict[str, dict[str, dict[str, Any]]] = {}
    for split in recipe.parts("data"):
        name = recipe.part(f"data.{split}", "readers")
        if name not in written:
            written[name] = _write_dataset(recipe, split, name)
        if split not in written[name]:
            raise PartError(
                f"{name} has sample data, but none for data.{split}",
                where=recipe.path,
                code="sample.no-split",
            )
        overrides |= {f"data.{split}.{key}": value for key, value in written[name][split].items()}
    recipe = recipe.with_overrides(overrides)
    train = list(recipe.build("data.train"))
    overrides |= stand_ins(recipe, train)
    experts = _experts(recipe)
    if experts:  # errors are reported before they are trained
        from mmkit.model import fitting_parts

        fitting_parts(recipe.with_overrides({**overrides, **settings}))
    for name in experts:
        section = f"model.encoders.{name}"
        known = settings_of_start(start_recipe(recipe), recipe, section, ["run"])
        overrides[f"{section}.run"] = known.get("run") or str(_trained(recipe, section, tell))
    return recipe.with_overrides({**overrides, **settings})


def _write_dataset(recipe: Recipe, split: str, name: str) -> dict[str, dict[str, Any]]:
    reader = recipe.build(f"data.{split}")
    try:
        written: dict[str, dict[str, Any]] = reader.sample(cache_dir("samples") / f"{name}-{SEED}", SEED)
    except NotImplementedError as error:
        raise PartError(
            f"{name} has no sample data",
            where=recipe.path,
            hint="--tiny in place of --sample tries the recipe on your own data, offline; "
            "a reader's `sample` classmethod would write sample data",
            code="sample.none",
        ) from error
    return written


def _experts(recipe: Recipe) -> list[str]:
    """The encoders that are trained runs."""
    sections = {name: f"model.encoders.{name}" for name in recipe.parts("model.encoders")}
    return [name for name, at in sections.items() if recipe.part_class(at, "encoders").is_run]


def _trained(recipe: Recipe, section: str, tell: Tell) -> Path:
    """A run that a recipe builds on, trained on its sample unless it is in the cache."""
    name = recipe.build(section).recipe
    if not name:
        raise PartError(
            "no recipe says how this run is trained",
            where=f"{recipe.path}: [{section}]",
            hint='name it, for example: recipe = "more_twitter15_text"',
            code="sample.no-recipe",
        )
    needed = load_recipe(name)
    filled = sampled(needed, tell).to_str() + "".join(
        version(p) for p in (DISTRIBUTION, "torch", "transformers")
    )
    digest = hashlib.sha256(filled.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    def train(folder: Path) -> None:
        tell(f"{recipe.name} builds on a run of {needed.name}, which is trained on its sample first")
        _train(needed.path, folder)

    return written_once(cache_dir("samples") / f"run-{needed.name}-{digest}", train)


def _train(recipe: Path, folder: Path) -> None:
    """Train a recipe on its sample, in a separate process, because a process has one device and one display."""
    command = [sys.executable, "-m", "mmkit", "train", str(recipe), "--sample", "--quiet"]
    alone = {k: v for k, v in os.environ.items() if k not in LAUNCHED}
    result = subprocess.run(
        [*command, "--device", "cpu", "--output", str(folder)],
        env=alone,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if result.returncode:
        said = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise RecipeError(
            f"it could not be trained on its sample: {said}",
            where=recipe,
            hint=f"run mmkit train {recipe} --sample to see why",
            code="sample.untrainable",
        )
