"""From a recipe's `[data]` and `[annotators]` to examples in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mmkit.data.expected import records
from mmkit.data.problems import Place, counted
from mmkit.data.reader import Reader
from mmkit.data.shares import Share
from mmkit.data.types import Entity
from mmkit.errors import DataError, did_you_mean
from mmkit.loading.annotation import Annotation
from mmkit.loading.knowledge import read_knowledge_base
from mmkit.loading.split import ENTITIES, Progress, Split, fingerprints
from mmkit.recipe import Recipe
from mmkit.terminal.notes import few


def split_names(recipe: Recipe) -> list[str]:
    """The splits of examples that a recipe names, without the knowledge base."""
    return [name for name in recipe.parts("data") if name != ENTITIES]


def check_split(recipe: Recipe, name: str) -> None:
    """Raise `DataError` for a split that the recipe does not have, or that has no examples."""
    known = split_names(recipe)
    if name not in known:
        what = "holds entities, not examples" if name == ENTITIES else "is not a split of the recipe"
        raise DataError(
            f"{name!r} {what}", where=recipe.path, hint=did_you_mean(name, known), code="data.no-split"
        )


def read_split(recipe: Recipe, name: str, errors: list[DataError] | None = None) -> Split:
    """Read a whole split, as it is on disk. Raises `DataError` if it is unknown, missing or empty.

    Records that cannot be read are left out and their errors put into `errors`, if that is given and the reader can go
    on behind them.
    """
    known = recipe.parts("data")
    if name not in known:
        raise DataError(
            f"the recipe has no split {name!r}",
            where=recipe.path,
            hint=did_you_mean(name, known),
            code="data.no-split",
        )
    if name == ENTITIES:
        return read_knowledge_base(recipe, errors=errors)
    reader: Reader = recipe.build(f"data.{name}")
    reader.errors = errors
    split = Split(name)
    seen: set[str] = set()
    again: list[tuple[str, Place | None]] = []
    for record in records(reader):
        if isinstance(record, Entity):
            raise DataError(
                f"data.{name} needs examples, but its reader gives entities",
                where=reader.path,
                code="data.wrong-reader",
            )
        place: Place | None = getattr(reader, "place", None)
        if record.id in seen:
            again.append((record.id, place))
            continue
        seen.add(record.id)
        split.examples.append(record)
        if place is not None:
            split.places[record.id] = place
    if again:
        raise _not_unique(again, reader)
    if not seen:
        skipped = ", ".join(f"{count:,} × {reason}" for reason, count in reader.repairs.items())
        if isinstance(reader, Share) and reader.read:
            raise DataError(
                f"none of its {reader.read} records falls into data.{name}, whose share is too small for so few",
                where=reader.path,
                hint="give it a larger share in [data.shares], or a file of its own",
                code="data.no-records",
            )
        raise DataError(
            "this file has no records" + (f" that can be used: {skipped}" if skipped else ""),
            where=reader.path,
            code="data.no-records",
        )
    split.repairs = dict(reader.repairs)
    split.share_of = reader.read if isinstance(reader, Share) else 0
    split.files = fingerprints(reader)
    return split


def _not_unique(again: Sequence[tuple[str, Place | None]], reader: Reader) -> DataError:
    """The error for records whose id an earlier one has."""
    told = few([f"{id!r}" + (f" at {place.of()}" if place else "") for id, place in again])
    have = counted(len(again), "record has", "records have")
    return DataError(
        f"{have} the id of an earlier one: {told}",
        where=reader.path,
        hint="make ids unique",
        code="data.duplicate-id",
    )


def annotate_split(
    recipe: Recipe,
    split: Split,
    device: str,
    progress: Progress | None = None,
    entities: Sequence[Entity] = (),
) -> None:
    """Run the recipe's annotators over a split of examples; stored results are not computed again.

    `entities` is the recipe's knowledge base.
    """
    Annotation.of(recipe, device, progress).annotate_split(split, entities)


def read_splits(
    recipe: Recipe,
    names: Sequence[str],
    device: str = "cpu",
    progress: Progress | None = None,
    *,
    annotation: Annotation | None = None,
    look: Callable[[Mapping[str, Split]], None] | None = None,
) -> dict[str, Split]:
    """Read and annotate several splits. The knowledge base comes first: annotators of examples may use it.

    The recipe's annotators are built once for all of them, unless they are given. `look` is given the splits before
    annotators go over examples, which may take hours, and may raise.
    """
    annotation = annotation or Annotation.of(recipe, device, progress)
    splits = {}
    base: Sequence[Entity] = ()
    if (ENTITIES in names or annotation.over("examples")) and ENTITIES in recipe.parts("data"):
        whole = read_knowledge_base(recipe, annotation)
        base = whole.entities
        splits[ENTITIES] = whole
    for name in names:
        if name != ENTITIES:
            splits[name] = read_split(recipe, name)
    if look is not None:
        look(splits)
    for name in names:
        if name != ENTITIES:
            annotation.annotate_split(splits[name], base)
    return {name: splits[name] for name in names}


def read_splits_of_run(recipe: Recipe, names: Sequence[str], annotation: Annotation) -> dict[str, Split]:
    """As `read_splits`, for the recipe of a run. Where a file is missing, the hint says how to name moved data."""
    try:
        return read_splits(recipe, names, annotation=annotation)
    except DataError as error:
        roots = {name: str(recipe.config["data"][name].get("root") or "") for name in names}
        name = next((n for n, root in roots.items() if root and Path(error.where).is_relative_to(root)), None)
        if name is None or (error.code != "file.missing" and Path(roots[name]).exists()):
            raise
        moved = f"if the data have moved, name their folder: --data.{name}.root FOLDER"
        raise error.at(error.where, "\n  → ".join([moved, error.hint] if error.hint else [moved])) from error
