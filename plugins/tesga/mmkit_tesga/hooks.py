"""Hooks: what the plugin adds to mmkit's commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmkit.config.upgrade import parts_named, section
from mmkit.hooks import hookimpl, recipes_of


@hookimpl
def mmkit_upgrade(recipe: dict[str, Any]) -> None:
    """The metric and the schedule that the core once had for TESGA are now parts of this plugin."""
    training = section(recipe, "training")
    if training.get("schedule_offset") == 1 and training.get("schedule") == "cosine":
        training["schedule"] = "tesga.cosine.v1"
        del training["schedule_offset"]
    score = training.get("score")
    scored = score if isinstance(score, Mapping) else [score]
    for at, part in parts_named(recipe, "metrics", "mmkit.joint_f1.v1"):
        if any(str(figure).startswith(f"{at.removeprefix('metrics.')}.start_") for figure in scored):
            part["@metrics"] = "tesga.joint_f1.v1"


@hookimpl
def mmkit_importers() -> dict[str, str]:
    return {"tesga": "mmkit_tesga.convert:TesgaImporter"}


@hookimpl
def mmkit_prediction_forms() -> dict[str, str]:
    return {"tesga": "mmkit_tesga.published:PublishedForm"}


@hookimpl
def mmkit_schedules() -> dict[str, str]:
    return {"tesga.cosine.v1": "mmkit_tesga.schedule:ahead"}


@hookimpl
def mmkit_recipe_folders() -> list[Path]:
    return recipes_of(__file__)
