"""Check whether a recipe's model can be made, if all its pretrained weights are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmkit.checking.words import spaces_alone, unknown_words
from mmkit.data.types import Entity, Example
from mmkit.errors import DataError, MMKitError
from mmkit.model import Parts, assemble
from mmkit.runs.start import Start

if TYPE_CHECKING:
    from mmkit.recipe import Recipe

LARGE = 4 << 30
"""Largest weights, in bytes, that are loaded for this check."""


@dataclass(frozen=True)
class Trial:
    """The result of making a model: what would stop training, and what a user should know about."""

    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()
    remarks: Sequence[str] = ()


def start_of(recipe: Recipe, parts: Parts) -> tuple[Start | None, list[str]]:
    """The run that training would start from, if the recipe names one; and why it cannot."""
    try:
        return Start.of(recipe, parts), []
    except MMKitError as error:
        return None, [_placed(recipe, error)]


def try_to_make(
    recipe: Recipe,
    parts: Parts,
    examples: Sequence[Example],
    entities: Sequence[Entity] = (),
    start: Start | None = None,
) -> Trial:
    """Make a recipe's model of its `parts` on the CPU, as training would, unless that needs a download.

    `examples` are those of train. Problems of the data are not reported here. With the run that training would
    `start` from, what would be taken of it is among the results.
    """
    folders = start.folders if start else {}
    weights = [e.weight_bytes() for at, e in parts.encoder_sections.items() if at not in folders]
    if start:
        weights.append(start.run.weights_file.stat().st_size)
    known = [count for count in weights if count is not None]
    if len(known) < len(weights) or sum(known) > LARGE:
        return Trial()
    try:
        model = assemble(recipe, parts=parts, examples=examples, entities=entities, folders=folders)
        taken = start.give(model) if start else None
    except DataError:
        return Trial()
    except MMKitError as error:
        return Trial([_placed(recipe, each) for each in error.each or (error,)])
    remarks = list(taken.lines()) if taken else []
    # tiny stand-ins know few words, which is nothing that a user could change
    read_by = {} if recipe.config["recipe"]["tiny"] else parts.encoder_sections
    return Trial(
        (),
        [*unknown_words(read_by, examples), *spaces_alone(read_by, examples)],
        remarks,
    )


def _placed(recipe: Recipe, error: MMKitError) -> str:
    """An error with only its section in front, like other problems of a check."""
    return str(error).removeprefix(f"{recipe.path}: ")
