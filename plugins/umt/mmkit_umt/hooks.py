"""Hooks: what the plugin adds to mmkit's commands."""

from __future__ import annotations

from pathlib import Path

from mmkit.hooks import hookimpl, recipes_of


@hookimpl
def mmkit_importers() -> dict[str, str]:
    return {"umt": "mmkit_umt.convert:UmtImporter"}


@hookimpl
def mmkit_recipe_folders() -> list[Path]:
    return recipes_of(__file__)


@hookimpl
def mmkit_optimizers() -> dict[str, str]:
    return {"umt.bert_adam.v1": "mmkit_umt.bert_adam:BertAdam"}


@hookimpl
def mmkit_schedules() -> dict[str, str]:
    return {"umt.warmup_linear.v1": "mmkit_umt.bert_adam:warmup_linear"}
