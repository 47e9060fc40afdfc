"""Whether a recipe's model can be made: tried where all its pretrained weights are on this machine."""

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
"""Bytes of weights above which nothing is loaded only to see whether it can be."""


@dataclass(frozen=True)
class Trial:
    """What came of trying to make a model: what would stop training, and what a user should know of."""

    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()


def try_to_make(
    recipe: Recipe, parts: Parts, examples: Sequence[Example], entities: Sequence[Entity] = ()
) -> Trial:
    """Make a recipe's model of its `parts` on the CPU, as training would, unless that would fetch something.

    `examples` are those of train. What is wrong with the data is left to who looks at them.
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
    """An error with its section alone in front, as other problems of a check have it."""
    return str(error).removeprefix(f"{recipe.path}: ")
