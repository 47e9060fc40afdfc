"""Hooks: what the plugin adds to mmkit's commands."""

from __future__ import annotations

from pathlib import Path

from mmkit.hooks import hookimpl, recipes_of


@hookimpl
def mmkit_importers() -> dict[str, str]:
    return {"dim": "mmkit_dim.convert:DimImporter"}


@hookimpl
def mmkit_recipe_folders() -> list[Path]:
    return recipes_of(__file__)
