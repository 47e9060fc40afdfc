"""Hooks: what the plugin adds to mmkit's commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmkit.config.upgrade import parts_named
from mmkit.hooks import hookimpl, recipes_of

TAGGERS = {
    "mmkit.crf_tagger.v1": "hvpnet.crf_tagger.v1",
    "mmkit.softmax_tagger.v1": "hvpnet.softmax_tagger.v1",
}
"""The core's taggers of words → the same of subwords."""


@hookimpl
def mmkit_upgrade(recipe: dict[str, Any]) -> None:
    """`subwords = "tagged"` of the core's taggers is a separate tagger now, and "first" leads back."""
    for words, subwords in TAGGERS.items():
        for _, part in parts_named(recipe, "decoders", words):
            if part.get("subwords") == "tagged":
                part["@decoders"] = subwords
                del part["subwords"]
                if part.get("constraints") is False:  # what a filled recipe says
                    del part["constraints"]
        for _, part in parts_named(recipe, "decoders", subwords):
            if part.get("subwords") == "first":
                part["@decoders"] = words


@hookimpl
def mmkit_importers() -> dict[str, str]:
    return {"hvpnet": "mmkit_hvpnet.convert:HvpnetImporter"}


@hookimpl
def mmkit_recipe_folders() -> list[Path]:
    return recipes_of(__file__)
