"""What a run needs beside its own files: frozen networks, a knowledge base, what its annotators read, packages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit import Recipe

ENCODERS = ("model.encoders", "model.entities.encoders")
_SERVER = re.compile(r"https?://[^/\s]+")


@dataclass(frozen=True)
class Network:
    """A pretrained network whose weights are not among the run's."""

    section: str
    name: str
    revision: str | None

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine, so that nobody else can fetch it."""
        path = Path(self.name).expanduser()
        return path.is_absolute() or path.exists()

    def __str__(self) -> str:
        return self.name + (f" (revision {self.revision})" if self.revision else "")


def networks_left_out(recipe: Recipe) -> list[Network]:
    """The frozen networks that a run with `save_frozen = false` takes by name."""
    if recipe.training.save_frozen:
        return []
    found = []
    for section in ENCODERS:
        for name in recipe.parts(section):
            settings = recipe.settings(f"{section}.{name}")
            if recipe.build(f"{section}.{name}").frozen and isinstance(settings.get("name"), str):
                found.append(Network(f"{section}.{name}", settings["name"], settings.get("revision")))
    return found


def has_knowledge_base(recipe: Recipe) -> bool:
    """Whether it links to entities of a knowledge base."""
    return "entities" in recipe.parts("data")


def annotators(recipe: Recipe) -> dict[str, str]:
    """The recipe's annotators, which work for each prediction: section → registered part."""
    return {
        f"annotators.{name}": recipe.part(f"annotators.{name}", "annotators")
        for name in recipe.parts("annotators")
    }


def servers(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The settings that name a server, with its address (without a path)."""
    for section in annotators(recipe):
        for name, value in recipe.settings(section).items():
            for text in _texts(value):
                if found := _SERVER.match(text):
                    yield f"{section}.{name}", found[0]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def required(recipe: Recipe) -> list[str]:
    """The packages whose parts the recipe names."""
    return [str(package) for package in recipe.config["recipe"].get("requires") or []]
