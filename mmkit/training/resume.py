"""Starting a run folder, or resuming in one: only with the recipe and the data with which it was started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmkit.errors import RecipeError, RunError, one_line
from mmkit.recipe import Recipe
from mmkit.runs.folder import COMPLETE, Run
from mmkit.runs.start import KEY, SETTING

SECTIONS = ("recipe", "data", "annotators", "model", "metrics", "training")
"""The sections that decide a run's result."""

MAY_CHANGE = {
    f"training.{name}"
    for name in (
        "accumulate",
        "eval_batch_size",
        "workers",
        "check_every",
        "checkpoint_every",
        "log_every",
        "feature_memory",
    )
} | {"recipe.requires"}
"""Settings that do not change the result (except rounding) and may change when resuming, for example to save memory."""

OF_THE_BATCH = "training.accumulate"
"""Changes the result of a model that links, because it compares mentions with others of their micro-batch."""


def open_folder(run: Run, recipe: Recipe, resume: bool) -> None:
    """Make the run's folder; with `resume`, check instead that it holds this run, and that the run is not over.

    A run that was killed before its first checkpoint starts again in its folder, also if the folder is empty or does
    not exist. Raises `RunError` for a folder that is not empty, is not a run folder or holds a complete run, and
    `RecipeError` for another recipe than the run's.
    """
    if not resume or run.is_empty():
        run.create()
        return
    saved = run.recipe()
    may_change = (
        MAY_CHANGE - {OF_THE_BATCH} if recipe.build("model.decoder").compares_examples else MAY_CHANGE
    )
    changes = [
        change
        for section in SECTIONS
        for at, change in _changes(section, saved.config, recipe.config)
        if at not in may_change
    ]
    if changes:
        raise RecipeError(
            "the recipe differs from the run's:\n  " + "\n  ".join(changes),
            where=run.folder,
            hint=f"resume with the run's own recipe: mmkit train {run.recipe_file} --resume --output {run.folder}",
            code="run.other-recipe",
        )
    if run.json_file.exists() and run.facts().get("status") in COMPLETE:
        run.remove_checkpoint()  # a kill between the last two steps leaves it
        raise RunError(
            "this run is complete", where=run.folder, hint="train into another --output", code="run.complete"
        )


def check_data(begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that the data files of two `run.json`s are the same. Raises `RunError`."""
    try:
        known = {
            split: {file["file"]: file["sha256"] for file in origin["files"]}
            for split, origin in begun.get("data", {}).items()
        }
    except (AttributeError, LookupError, TypeError) as error:
        raise RunError(
            f'run.json is damaged: what it says of "data" cannot be used ({one_line(error)})',
            hint="put the file back, or train into another --output",
            code="run.damaged",
        ) from error
    for split, before in known.items():
        if split not in now["data"]:
            continue
        for file in now["data"][split]["files"]:
            if before.get(file["file"]) != file["sha256"]:
                raise RunError(
                    f"data.{split}: this file has changed since the run began",
                    where=file["file"],
                    hint="put the file back, or train into another --output",
                    code="run.other-data",
                )


def check_start(begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that the run whose weights were the first ones is the same in two `run.json`s. Raises `RunError`."""
    before, after = begun.get(KEY), now.get(KEY)
    if before is None or after is None:
        return  # the recipe says which run it is, and a run of an earlier version has none
    known = before.get("files") if isinstance(before, dict) else None
    if known != after["files"]:
        raise RunError(
            "this run has changed since the training from it began",
            where=f"{SETTING} = {after['run']}",
            hint="put its files back, or train into another --output",
            code="run.other-start",
        )


def _changes(at: str, before: Any, now: Any) -> Iterator[tuple[str, str]]:
    """Settings that differ, and both values; `before` and `now` hold them under the last name in `at`."""
    name = at.rpartition(".")[2]
    old, new = before.get(name), now.get(name)
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _changes(f"{at}.{key}", old, new)
    elif old != new:
        yield at, f"{at} was {old!r} and is {new!r}"
