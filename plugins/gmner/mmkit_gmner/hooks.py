"""Hooks: what the plugin adds to mmkit's commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.hooks import hookimpl, recipes_of

if TYPE_CHECKING:
    from mmkit.data.problems import Problem


@hookimpl
def mmkit_recipe_folders() -> list[Path]:
    return recipes_of(__file__)


@hookimpl
def mmkit_prediction_forms() -> dict[str, str]:
    return {
        "riveg-gold": "mmkit_gmner.riveg:LabelForm",
        "riveg-predictions": "mmkit_gmner.riveg:PredictionForm",
    }


@hookimpl
def mmkit_data_read(data: dict[str, Any], runs: Sequence[Path]) -> dict[str, list[Problem]]:
    """Warn of runs that were trained on posts which are now to be scored."""
    from mmkit_gmner.seen import seen_posts

    return seen_posts(data, runs)
