"""`mmkit check`: the content and the problems of a recipe's data, before a GPU is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmkit.cache import cache_dir
from mmkit.checking.examine import examine
from mmkit.checking.report import SplitReport
from mmkit.checking.unread import before_building
from mmkit.data.problems import Problem
from mmkit.encoders.base import Encoder
from mmkit.errors import DataError, MMKitError, printable
from mmkit.files import atomic, tidy
from mmkit.fit import Parts, fitting_parts
from mmkit.loading.split import ENTITIES, Split
from mmkit.loading.splits import read_split
from mmkit.recipe import Recipe, RecipeSource, load_recipe

if TYPE_CHECKING:
    from mmkit.annotators.base import Annotator

TAB = "\t"

__all__ = ["SplitReport", "check", "checked", "lacking", "list_in_full"]


def check(recipe: RecipeSource, decode: bool = False) -> dict[str, SplitReport]:
    """Read every split and check its labels and images (`decode`: decode each image fully).

    The problems are those that training would refuse or warn about (see `mmkit.checking.examine`); annotators do not
    run. A split that cannot be read has the reason among its problems; the other splits are still checked. `recipe`
    is as for `mmkit.load_recipe`.
    """
    recipe = load_recipe(recipe)
    return checked(recipe, fitting_parts(recipe), decode)


def checked(recipe: Recipe, parts: Parts, decode: bool) -> dict[str, SplitReport]:
    """Like `check`, for a recipe whose parts are constructed."""
    splits: dict[str, Split] = {}
    unreadable: dict[str, DataError] = {}
    refused: dict[str, list[DataError]] = {}
    for name in recipe.parts("data"):
        errors = refused.setdefault(name, [])
        try:
            splits[name] = read_split(recipe, name, errors)
        except DataError as caught:
            unreadable[name] = caught
    over_examples = [
        name for name in recipe.parts("annotators") if recipe.build(f"annotators.{name}").over == "examples"
    ]
    found = examine(recipe, parts, splits, annotated=not over_examples, all_pictures=True, decode=decode)
    _add_unread(found, parts, bool(over_examples))
    reports = {}
    already: dict[tuple[str, str], str] = {}
    for name in recipe.parts("data"):
        refused[name], told = _new(refused[name], already, name)
        if name in unreadable:
            refusal = unreadable[name]
            reports[name] = SplitReport(Split(name))
            others = [other for other in refused[name] if other.where != refusal.where]
            if "looks like" in refusal.hint:
                others = []
            if others and len(others) < len(refused[name]):  # it is one of the records' errors
                problems = _unreadable([refusal, *others])
            else:
                problems = [Problem(str(refusal), code=refusal.code), *_unreadable(others)]
            for problem in problems:
                reports[name].add(problem)
        else:
            reports[name] = found[name]
            for problem in _unreadable(refused[name]):
                reports[name].add(problem)
        reports[name].lines += told
    if parts.decoder.task.reads_entities and ENTITIES not in recipe.parts("data"):
        problem = Problem(
            "there is no knowledge base to link to",
            hint="add a [data.entities] section with a reader of entities to the recipe",
            code="task.no-knowledge-base",
        )
        reports["train"].add(problem)
    return reports


def _new(
    errors: Sequence[DataError], already: dict[tuple[str, str], str], split: str
) -> tuple[list[DataError], tuple[str, ...]]:
    """The errors that no split before has, and a line about the rest: several splits may be shares of one file."""
    known = Counter(
        already[error.where, error.what] for error in errors if (error.where, error.what) in already
    )
    fresh = [error for error in errors if (error.where, error.what) not in already]
    already.update({(error.where, error.what): split for error in fresh})
    return fresh, tuple(
        f"{count:,} {'record' if count == 1 else 'records'} of the same file cannot be read: see data.{first}"
        for first, count in known.items()
    )


def _unreadable(errors: Sequence[DataError]) -> list[Problem]:
    """One problem for each kind of error of single records."""
    kinds: dict[str, list[DataError]] = {}
    for error in errors:
        kinds.setdefault(error.code, []).append(error)
    problems = []
    for code, some in kinds.items():
        first = some[0]
        what = (
            first.what if len(some) == 1 else f"{len(some):,} records cannot be read; the first: {first.what}"
        )
        problems.append(Problem(what, [(tidy(error.where), None) for error in some], first.hint, code))
    return problems


def _add_unread(reports: Mapping[str, SplitReport], parts: Parts, annotated: bool) -> None:
    """Add what the model will not read of the splits."""
    for split, found in before_building(parts, [report.split for report in reports.values()], annotated):
        for one in found:
            if isinstance(one, Problem):
                reports[split.name].add(one)
            else:
                reports[split.name].lines += (one,)


def list_in_full(recipe: Recipe, reports: Mapping[str, SplitReport], file: Path | None = None) -> Path | None:
    """Write every record and image with a problem to `file`, one line each; returns the file.

    Without a `file` the list goes into the cache, and only if a message names some of them and not all. A line has
    the place, a tab, and the problem. Raises `DataError` if the file cannot be written.
    """
    lines = [f"data.{name}\t{line}" for name, report in reports.items() for line in report.full]
    if file is None:
        if not any(report.shortened for report in reports.values()):
            return None
        file = cache_dir("checks") / f"{recipe.name}.tsv"
    with atomic(file, error=DataError) as out:
        for line in lines:
            readable = line.encode(errors="backslashreplace").decode()
            out.write(f"{printable(readable, keep=TAB)}\n")
    for report in reports.values():
        report.listed_in = file if report.full else None
    return file


def lacking(parts: Mapping[str, Encoder | Annotator]) -> list[str]:
    """What encoders and annotators, by section of the recipe, need but is missing: networks, runs, indexes."""
    return [f"[{section}] {error}" for section, part in parts.items() for error in _problems(part)]


def _problems(part: Encoder | Annotator) -> Iterator[MMKitError]:
    if isinstance(part, Encoder):
        yield from part.problems()
        return
    try:
        part.check_there()
    except MMKitError as error:
        yield from error.each or (error,)
