"""Check whether a recipe's model can be made, if all its pretrained weights are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmkit.checking.words import unknown_words
from mmkit.data.types import Entity, Example
from mmkit.errors import DataError, MMKitError
from mmkit.model import Parts, assemble

if TYPE_CHECKING:
    from mmkit.recipe import Recipe

LARGE = 4 << 30
"""Largest weights, in bytes, that are loaded for this check."""


@dataclass(frozen=True)
class Trial:
    """The result of making a model: what would stop training, and what a user should know about."""

    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()


def try_to_make(
    recipe: Recipe, parts: Parts, examples: Sequence[Example], entities: Sequence[Entity] = ()
) -> Trial:
    """Make a recipe's model of its `parts` on the CPU, as training would, unless that needs a download.

    `examples` are those of train. Problems of the data are not reported here.
    """
    weights = [encoder.weight_bytes() for encoder in parts.encoder_sections.values()]
    known = [count for count in weights if count is not None]
    if len(known) < len(weights) or sum(known) > LARGE:
        return Trial()
    try:
        assemble(recipe, parts=parts, examples=examples, entities=entities)
    except DataError:
        return Trial()
    except MMKitError as error:
        return Trial([_placed(recipe, each) for each in error.each or (error,)])
    return Trial((), list(unknown_words(parts.encoder_sections, examples)))


def _placed(recipe: Recipe, error: MMKitError) -> str:
    """An error with only its section in front, like other problems of a check."""
    return str(error).removeprefix(f"{recipe.path}: ")
