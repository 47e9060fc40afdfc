"""Shared by the tests of training: the sample recipe, one epoch long."""

from __future__ import annotations

from typing import Any

import pytest

from mmkit.recipe import Recipe, load_recipe


@pytest.fixture
def recipe(sample_recipe):
    """A function that loads the sample recipe, one epoch long, with settings of `[training]` replaced."""

    def load(overrides: dict[str, Any] | None = None, **training: Any) -> Recipe:
        settings = {f"training.{name}": value for name, value in {"epochs": 1, **training}.items()}
        return load_recipe(sample_recipe, {**settings, **(overrides or {})})

    return load
