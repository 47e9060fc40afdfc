"""Shared by the tests of recipes: parts of their own, and a recipe that can be changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import catalogue
import pytest

from mmkit import registry
from mmkit.annotators.base import Annotator
from mmkit.decoders.base import Decoder
from mmkit.metrics.base import Metric
from mmkit.recipe import Recipe, load_recipe
from recipe_parts import RECIPE, Everything, Free, Make, Odd, Rows, whole


@pytest.fixture(autouse=True)
def parts() -> Iterator[None]:
    """Test parts, registered for the length of a test."""
    before = dict(catalogue.REGISTRY)
    registry.readers.register("t.rows.v1", func=Rows)
    registry.annotators.register("t.notes.v1", func=whole(Annotator))
    registry.encoders.register("t.everything.v1", func=Everything)
    registry.encoders.register("t.odd.v1", func=Odd)
    registry.fusers.register("t.free.v1", func=Free)
    registry.decoders.register("t.tagger.v1", func=whole(Decoder))
    registry.metrics.register("t.f1.v1", func=whole(Metric))
    yield
    catalogue.REGISTRY.clear()
    catalogue.REGISTRY.update(before)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Load the recipe above, with text replaced in it, text added to it, and overrides."""

    def load(*replaced: tuple[str, str], more: str = "", **overrides: Any) -> Recipe:
        text = RECIPE
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / "mine.cfg"
        file.write_text(text + more, encoding="utf-8")
        return load_recipe(file, {name.replace("__", "."): value for name, value in overrides.items()})

    return load
