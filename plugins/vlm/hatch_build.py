"""Puts the recipes of this package, which lie in `recipes/` at the top of the repository, into its wheel and sdist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Recipes(BuildHookInterface):
    """Finds `recipes/<word>_*.cfg`, the word being the package's name without `mmkit-`. A sdist brings its own."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # they are read where they lie
            return
        word = self.metadata.name.removeprefix("mmkit-")
        for file in sorted((Path(self.root).parents[1] / "recipes").glob(f"{word}_*.cfg")):
            build_data["force_include"][str(file)] = f"mmkit_{word}/recipes/{file.name}"
