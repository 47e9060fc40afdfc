"""Hooks: what the plugin adds to mmkit's commands."""

from __future__ import annotations

from pathlib import Path

from mmkit.hooks import hookimpl, recipes_of


@hookimpl
def mmkit_importers() -> dict[str, str]:
    return {"mimic": "mmkit_mimic.convert:MimicImporter"}


@hookimpl
def mmkit_recipe_folders() -> list[Path]:
    return recipes_of(__file__)


@hookimpl
def mmkit_optimizers() -> dict[str, str]:
    return {"mimic.adamw.v1": "mmkit_mimic.optimizer:AdamW"}
