"""Where the recipe is."""

from __future__ import annotations

from pathlib import Path

from mmkit.hooks import hookimpl


@hookimpl
def mmkit_recipe_folders() -> list[Path]:
    return [Path(__file__).parent / "recipes"]
