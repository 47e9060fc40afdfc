"""Parts that are registered during a block, and a training on sample data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import catalogue

from mmkit import registry
from mmkit.recipe import load_recipe

if TYPE_CHECKING:
    from mmkit.training.result import Result


@contextmanager
def registered_parts(**parts: Mapping[str, type]) -> Iterator[None]:
    """Register parts during a block: `registered_parts(fusers={"mine.gate.v1": Gate})`.

    Parts that are registered within the block are also forgotten after it. Raises `PartError` for an unknown registry.
    """
    before = dict(catalogue.REGISTRY)
    try:
        for station, named in parts.items():
            of_station = registry.registry_of(station)
            for name, part in named.items():
                of_station.register(name, func=part)
        yield
    finally:
        catalogue.REGISTRY.clear()
        catalogue.REGISTRY.update(before)


def train_on_sample(
    recipe: str | Path, output: str | Path, overrides: Mapping[str, Any] | None = None, *, device: str = "cpu"
) -> Result:
    """Train a recipe on its sample, as `mmkit train RECIPE --sample` does, and return the run.

    Its scores of the test split are `.figures["test"]`.
    """
    from mmkit.loading.sample import sampled
    from mmkit.training.train import train

    return train(sampled(load_recipe(recipe, overrides)), output, device=device, quiet=True)
