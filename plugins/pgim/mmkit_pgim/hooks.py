"""Hooks: where the recipes are."""

from __future__ import annotations

from pathlib import Path

from mmkit.hooks import hookimpl, recipes_of


@hookimpl
def mmkit_recipe_folders() -> list[Path]:
    return recipes_of(__file__)
