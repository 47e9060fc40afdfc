"""`--sample`: any recipe on a small drawn dataset and tiny stand-in backbones, offline and deterministic."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from mmkit.cache import cache_dir
from mmkit.errors import PartError

if TYPE_CHECKING:
    from mmkit.recipe import Recipe

SEED = 1234
"""The sample's own seed, so that recipes share one dataset whatever seed they train with."""


def sampled(recipe: Recipe) -> Recipe:
    """The recipe with its data, backbones and `[sample]` settings replaced by the sample's.

    Each reader writes a dataset in its own on-disk format, each encoder a tiny untrained backbone, both into the
    cache; they are made once. Raises `PartError` for a reader that brings no sample.
    """
    overrides: dict[str, Any] = {}
    written: dict[str, dict[str, dict[str, Any]]] = {}
    for split in recipe.parts("data"):
        name = recipe.part(f"data.{split}", "readers")
        if name not in written:
            written[name] = _write_dataset(recipe, split, name)
        if split not in written[name]:
            raise PartError(f"{name} brings sample data, but none for data.{split}", where=recipe.path)
        overrides |= {f"data.{split}.{key}": value for key, value in written[name][split].items()}
    recipe = recipe.with_overrides(overrides)
    train = list(recipe.build("data.train"))
    digest = hashlib.sha256("\0".join(e.text for e in train).encode("utf-8", "surrogatepass")).hexdigest()[
        :12
    ]
    for section, station in (("model.encoders", "encoders"), ("annotators", "annotators")):
        for name in recipe.parts(section):
            part = recipe.part(f"{section}.{name}", station)
            folder = cache_dir("samples") / f"{part}-{SEED}-{digest}"
            stand_in = recipe.build(f"{section}.{name}").sample(folder, SEED, train)
            overrides |= {f"{section}.{name}.{key}": value for key, value in stand_in.items()}
    return recipe.with_overrides({**overrides, **recipe.sample_overrides})


def _write_dataset(recipe: Recipe, split: str, name: str) -> dict[str, dict[str, Any]]:
    reader = recipe.build(f"data.{split}")
    try:
        return reader.sample(cache_dir("samples") / f"{name}-{SEED}", SEED)
    except NotImplementedError as error:
        raise PartError(
            f"{name} brings no sample data",
            where=recipe.path,
            hint="a reader's `sample` classmethod writes it",
        ) from error
