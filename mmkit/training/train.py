"""Training a recipe, from its data to a scored run folder. Callable from Python; the command line only wraps it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from mmkit.errors import ImageError, Interrupted
from mmkit.hooks import registered
from mmkit.inference.devices import check_precision, make_accelerator
from mmkit.inference.memory import memory_advice, peak_memory
from mmkit.metrics.scoring import nothing_to_score
from mmkit.recipe import RecipeSource, load_recipe
from mmkit.runs.folder import Run, default_folder
from mmkit.runs.weights import load_tensors, load_weights
from mmkit.terminal.elastic import may_restart
from mmkit.training.launch import Launch
from mmkit.training.metrics_log import MetricsLog
from mmkit.training.ready import Ready, make_ready
from mmkit.training.result import Result
from mmkit.training.resume import is_finished
from mmkit.training.session import Session
from mmkit.training.sharding import check_sharding
from mmkit.training.stopping import StopSignal
from mmkit.training.tracking import Tracking
from mmkit.training.updates import Updates


def train(
    recipe: RecipeSource,
    overrides: Mapping[str, Any] | str | Path | None = None,
    output: str | Path | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
    quiet: bool = False,
    hooks: Sequence[object] = (),
) -> Result:
    """Train `recipe` into the run folder `output`, score its best epoch, and return the run with its scores.

    `recipe` and `overrides` are as for `mmkit.load_recipe`: a path, the name of a recipe, a dictionary or a `Recipe`,
    and settings by dotted name. `train(recipe, "runs/x")` names the folder without overrides. `hooks` are further hook
    implementations (a display, a tracker), besides those of installed plugins. With `resume`, an interrupted run
    continues from its last checkpoint; on the CPU the result is bit-identical to that of an uninterrupted run. So it
    does where torchrun has started the processes again (`--max-restarts`). Without `output` the folder is
    `runs/<recipe>/<time>`.

    Raises `MMKitError` subclasses for everything that the user can fix, among them `Interrupted` on Ctrl-C or
    SIGTERM: between two updates everything is saved first.
    """
    if isinstance(overrides, str | os.PathLike):
        if output is not None:
            raise TypeError("train() takes overrides as a dictionary, and one output folder")
        overrides, output = None, overrides
    recipe = load_recipe(recipe, overrides)
    accelerator = make_accelerator(device)
    check_precision(recipe.training.precision, accelerator.device)
    check_sharding(recipe.training, accelerator.device, accelerator.num_processes)
    run = Run(broadcast_object_list([str(output or default_folder(recipe))])[0])
    own = [*hooks, MetricsLog(), Tracking()] if accelerator.is_main_process else []
    stop_signal = StopSignal(announce=accelerator.is_main_process and not quiet)
    with registered(*own) as plugins, memory_advice(recipe.training), stop_signal as stop:
        session = Session(recipe, run, accelerator, plugins, stop, quiet, Launch.of_all())
        restarted = _restarted(session, named=output is not None)
        if restarted and broadcast_object_list([accelerator.is_main_process and is_finished(run, recipe)])[0]:
            return Result(run.folder, run.facts(), recipe)  # a process ended after the last update
        resume = restarted or resume
        try:
            return Result(run.folder, _run_to_the_end(session, resume), recipe)
        except ImageError as error:  # of an image that is opened only when its batch is made
            advice = 'or set [data] missing_images = "blank": blank images then replace such images'
            hint = "\n  → ".join([error.hint, advice] if error.hint else [advice.removeprefix("or ")])
            raise error.at(error.where, hint) from error
        except KeyboardInterrupt:
            raise session.interrupted("saved files stay") from None
        finally:
            if session.main:
                run.discard_if_empty()


def _restarted(session: Session, *, named: bool) -> bool:
    """Whether torchrun has started the processes again, so that their run goes on; says so in one line."""
    if not named:
        if may_restart():
            session.note("warning: give --output: if torchrun starts again, the run in it goes on")
        return False
    count = session.launch.restarts
    if not (count and broadcast_object_list([session.main and session.launch.began(session.run)])[0]):
        return False
    how = (
        "from its last checkpoint"
        if session.run.has_checkpoint()
        else "from the beginning: it has no checkpoint"
    )
    session.note(f"torchrun has started all processes again ({count} ×); the run goes on {how}")
    return True


def _run_to_the_end(session: Session, resume: bool) -> dict[str, Any]:
    """Data → model → features → updates with evaluations → test scores."""
    ready = make_ready(session, resume)
    updates = Updates.of(session, ready)
    session.tell("mmkit_run_start", recipe=session.recipe, total_steps=updates.planned, quiet=session.quiet)
    try:
        updates.make()
        summary = _finish(session, ready, updates)
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | Interrupted)
        status = "interrupted" if stopped else "failed"
        session.tell("mmkit_run_end", status=status, summary={"seconds": updates.seconds})
        raise
    session.tell("mmkit_run_end", status=summary["status"], summary=summary)
    return summary


def _finish(session: Session, ready: Ready, updates: Updates) -> dict[str, Any]:
    """Score the best epoch, write predictions and `run.json`, and remove files that only resuming needs."""
    run, progress = session.run, updates.progress
    session.accelerator.wait_for_everyone()
    state = load_tensors(run.weights_file)
    load_weights(ready.model, state, run.weights_file, only=set(state))
    if (side := ready.model.entity_side) is not None:
        side.refresh = 1  # the entities of these weights, and not those of an earlier evaluation
    figures: dict[str, dict[str, float]] = {}
    for split in (name for name in ready.items if name != "train"):
        figures[split], predictions = ready.score(split)
        if unscored := nothing_to_score(ready.metrics, figures[split]):
            session.note(f"data.{split}: warning: {unscored}")
        if session.main:
            run.save_predictions(split, predictions)
            session.plugins.hook.mmkit_scored(
                folder=run.folder,
                split=split,
                recipe=session.recipe,
                examples=[item.example for item in ready.items[split]],
                predictions=predictions,
            )
        if split == "dev":
            updates.alarms.ended(predictions)
        else:
            place = {"split": split, "epoch": progress.best_epoch, "step": progress.best_step}
            session.tell("mmkit_evaluated", **place, figures=figures[split], best=False)
    summary = {
        **ready.facts,
        "status": "stopped" if updates.stale else "completed",
        "epochs": progress.epoch - 1,
        "updates": progress.step,
        "best_epoch": progress.best_epoch,
        "best_step": progress.best_step,
        "figures": figures,
        "alarms": updates.alarms.found,
        "seconds": round(updates.seconds, 1),
        "peak_memory_bytes": peak_memory(session.device),
    }
    if session.main:
        summary |= run.checksums()
        run.save_json(summary)
        if not session.settings.keep_checkpoint:
            run.remove_checkpoint()
    session.accelerator.wait_for_everyone()
    return summary
