"""What mmkit calls: where the recipes are, and a table of every score."""

from __future__ import annotations

import csv
from pathlib import Path

from mmkit.hooks import hookimpl


@hookimpl
def mmkit_evaluated(run: Path, split: str, epoch: int, figures: dict[str, float]) -> None:
    """Add the figures to `scores.csv` in the run's folder."""
    with (run / "scores.csv").open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([split, epoch, name, value] for name, value in figures.items())


@hookimpl
def mmkit_recipe_folders() -> list[Path]:
    return [Path(__file__).parent / "recipes"]
