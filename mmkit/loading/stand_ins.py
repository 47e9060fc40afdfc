"""Tiny stand-ins for a recipe's pretrained models, made offline from its examples: for `--sample` and `--tiny`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from mmkit.cache import cache_dir
from mmkit.data.expected import records
from mmkit.data.reader import Reader
from mmkit.data.types import Example
from mmkit.errors import MMKitError
from mmkit.recipe import Recipe, RecipeSource, load_recipe

SEED = 1234
"""The seed of all samples, so that recipes with different seeds share one dataset."""

SECTIONS = {
    "model.encoders": "encoders",
    "model.entities.encoders": "encoders",
    "annotators": "annotators",
}
"""Sections with parts that may load pretrained models → their station."""

UPDATES = 250
"""Untrained encoders have everything to learn: with `--tiny`, a few records are read often enough for these updates."""

EPOCHS = 80
"""But not more often, because each epoch is followed by an evaluation."""

TOLD = (
    "tiny untrained encoders stand in for the recipe's own (--tiny): the scores say nothing about the method"
)


def stand_ins(recipe: Recipe, train: Sequence[Example]) -> dict[str, Any]:
    """Settings that replace the pretrained models of encoders and annotators. They are kept in the cache.

    Vocabularies are those of `train`. A training that starts from a run goes on with the networks that the run has.
    """
    start = start_recipe(recipe)
    texts = "\0".join(example.text for example in train)
    digest = hashlib.sha256(texts.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    overrides: dict[str, Any] = {}
    for section, station in SECTIONS.items():
        for name in recipe.parts(section):
            part = recipe.part(f"{section}.{name}", station)
            folder = cache_dir("samples") / f"{part}-{SEED}-{digest}"
            stand_in = recipe.build(f"{section}.{name}").sample(folder, SEED, train)
            if station == "encoders":
                stand_in |= settings_of_start(start, recipe, f"{section}.{name}", stand_in)
            overrides |= {f"{section}.{name}.{key}": value for key, value in stand_in.items()}
    return overrides


def start_recipe(recipe: Recipe) -> Recipe | None:
    """The recipe of the run that training starts from; None if there is none. Training says what is wrong with it."""
    file = Path(recipe.training.init_from) / "recipe.cfg"
    try:
        return load_recipe(file) if recipe.training.init_from and file.is_file() else None
    except MMKitError:
        return None


def settings_of_start(
    start: Recipe | None, recipe: Recipe, section: str, names: Iterable[str]
) -> dict[str, Any]:
    """Of these settings of an encoder, those that it has in the run that training starts from, if the part is the same.

    So it goes on with the same network.
    """
    part = recipe.part(section, "encoders")
    if start is None or not start.has(section) or start.part(section, "encoders") != part:
        return {}
    settings = start.settings(section)
    return {name: settings[name] for name in names if name in settings}


def tiny(recipe: RecipeSource) -> Recipe:
    """`--tiny`: the recipe on its own data, with stand-ins for its pretrained models and the settings of `[sample]`.

    Settings of `[sample]` for data are not used, and overrides win over everything. Where so few records would make
    fewer than `UPDATES` updates, there are more epochs. Trained runs that the recipe builds on stay as they are. The
    recipe says that it is tiny (`recipe.tiny`), and so does a run of it. Records of the training data that cannot be
    read are left out here; training and `mmkit check` report them. Raises `DataError` if the training data cannot be
    read at all.
    """
    recipe = load_recipe(recipe)
    given = recipe.overrides
    reader: Reader = recipe.build("data.train")
    reader.errors = []
    train = [record for record in records(reader) if isinstance(record, Example)]
    settings = {name: value for name, value in recipe.sample_settings.items() if not name.startswith("data.")}
    if "training.epochs" in settings and train:
        batch_size = settings.get("training.batch_size", recipe.training.batch_size)
        needed = min(EPOCHS, ceil(UPDATES / ceil(len(train) / batch_size)))
        settings["training.epochs"] = max(settings["training.epochs"], needed)
    made = {name: value for name, value in stand_ins(recipe, train).items() if name not in given}
    return recipe.with_overrides({**settings, **made, "recipe.tiny": True})
