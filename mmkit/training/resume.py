"""Starting a run folder, or resuming in one: with the recipe and the data with which it was started.

A run may be given more epochs, and another patience. Then it goes on from its last checkpoint, also if it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmkit.errors import RecipeError, RunError, one_line
from mmkit.recipe import Recipe
from mmkit.runs.folder import COMPLETE, STOPPED, Run
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
        "keep_checkpoint",
        "log_every",
        "feature_memory",
        "shard",
        "graphs",
        "trackers",
    )
} | {"recipe.requires"}
"""Settings that do not change the result (except rounding) and may change when resuming, for example to save memory."""

EPOCHS, PATIENCE = "training.epochs", "training.patience"
"""Decide when a run ends, and nothing before that but the learning rate."""

OF_THE_BATCH = "training.accumulate"
"""Changes the result of a model that links, because it compares mentions with others of their micro-batch."""


def open_folder(run: Run, recipe: Recipe, resume: bool) -> int:
    """Make the run's folder; with `resume`, check instead that it holds this run, and that there is more to do.

    A run that was killed before its first checkpoint starts again in its folder, also if the folder is empty or does
    not exist. Returns the number of epochs that the run was to have before. Raises `RunError` for a folder that is not
    empty, is not a run folder or holds a complete run, and `RecipeError` for another recipe than the run's.
    """
    if not resume or run.is_empty():
        run.create()
        return recipe.training.epochs
    saved = run.recipe()
    epochs, more = _check_recipe(run, saved, recipe)
    if (status := run.facts_if_any().get("status")) in COMPLETE:
        patient = status == STOPPED and recipe.training.patience != saved.training.patience
        _check_more(run, more if status != STOPPED else patient, saved)
    return epochs


def is_finished(run: Run, recipe: Recipe) -> bool:
    """Whether a folder holds this recipe's complete run, with nothing more to do.

    Raises `RunError` for a folder that holds something else, and `RecipeError` for another recipe's run.
    """
    if run.is_empty():
        return False
    saved = run.recipe()
    _, more = _check_recipe(run, saved, recipe)
    same = not more and recipe.training.patience == saved.training.patience
    return same and run.facts_if_any().get("status") in COMPLETE


def _check_recipe(run: Run, saved: Recipe, recipe: Recipe) -> tuple[int, bool]:
    """Refuse to go on with another recipe than the run's; returns its epochs, and whether there are more now."""
    epochs = saved.training.epochs
    may_change = (
        MAY_CHANGE - {OF_THE_BATCH} if recipe.build("model.decoder").compares_examples else MAY_CHANGE
    )
    more = recipe.training.epochs > epochs
    may_change = may_change | {PATIENCE} | ({EPOCHS} if more else set())
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
            hint=f"resume with the run's own recipe (it may have more epochs, but not fewer): "
            f"mmkit train {run.recipe_file} --resume --output {run.folder}",
            code="run.other-recipe",
        )
    return epochs, more


def _check_more(run: Run, more: bool, saved: Recipe) -> None:
    """Raise `RunError` unless a complete run can be given more updates."""
    if not more and not saved.training.keep_checkpoint:
        run.remove_checkpoint()  # a kill between the last two steps leaves it
    if more and run.has_checkpoint():
        return
    further = f"--training.init_from {run.folder} begins a new training with its weights"
    if more:
        what = "this run is complete, and its last checkpoint was not kept"
        hint = f"{further}; training.keep_checkpoint = true keeps it"
    else:
        what = "this run is complete"
        hint = f"train into another --output; {further}"
        if saved.training.keep_checkpoint:
            hint = f"to go on, give it more epochs (after early stopping: another patience); {further}"
    raise RunError(what, where=run.folder, hint=hint, code="run.complete")


def said_of_epochs(recipe: Recipe, before: int, step: int, steps_per_epoch: int) -> str:
    """What becomes of the learning rate of a run that is given more epochs after `step` updates."""
    settings = recipe.training
    told = f"{EPOCHS} was {before} and is {settings.epochs}"
    if settings.schedule == "constant" and (settings.warmup >= 1 or not settings.warmup):
        return f"{told}: the learning rate stays constant"
    total = settings.epochs * steps_per_epoch
    return (
        f"{told}: from update {step + 1:,} on, the learning rate is that of {settings.schedule!r} over "
        f"{total:,} updates (the earlier updates had that of {before * steps_per_epoch:,})"
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
