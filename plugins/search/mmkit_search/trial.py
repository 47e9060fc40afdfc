"""One trial: a run with the trial's settings, watched after each epoch."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import TrialState

import mmkit
from mmkit import Recipe, RecipeError, RunError, TrainingError, TrainingStopped, hookimpl
from mmkit.metrics.scoring import weighted_score
from mmkit.runs.folder import COMPLETE, Run
from mmkit.terminal import echo
from mmkit_search.results import best_of
from mmkit_search.storage import Claimed, Search

UNUSABLE = ("run.damaged", "run.not-a-run", "run.missing-file", "run.unbuildable")
"""Errors of a trial's own run folder: the trial begins again."""


@dataclass(frozen=True)
class Options:
    """How trials are run. None of it decides which settings are tried first."""

    trials: int
    prune: bool = True
    prune_after: int = 5
    """Trials that must be complete before one is pruned."""
    keep: str = "completed"
    """Whose weights stay: of all trials, of completed ones, or of the best one."""
    device: str = "auto"
    deadline: float | None = None
    """On the clock of `time.monotonic`."""
    parent: int | None = None
    """The process that started this worker: when it is gone, the worker stops."""
    say: Callable[[str], None] = echo

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def is_orphan(self) -> bool:
        """Whether the process that started this worker is gone."""
        return self.parent is not None and os.getppid() != self.parent


@dataclass(frozen=True)
class Outcome:
    """What became of a trial."""

    state: TrialState
    score: float | None = None
    error: str = ""


@dataclass(eq=False)  # pluggy hashes implementations
class Watch:
    """Hooks of a trial's training: reports its scores to the study, and stops it where it is not worth going on."""

    search: Search
    claimed: Claimed
    recipe: Recipe
    options: Options
    told: set[str]
    """Notes that were shown already: most are the same for all trials."""
    left: int = 0
    """Updates of the epoch."""
    pruned: bool = False
    reported: set[int] = field(default_factory=set)

    @hookimpl
    def mmkit_note(self, message: str) -> None:
        """Show each note once."""
        if message not in self.told:
            self.told.add(message)
            self.options.say(message)

    @hookimpl
    def mmkit_run_start(self, run: Path) -> None:
        """See that the data are those of the other trials."""
        self.search.check_run(Run(run).facts())

    @hookimpl
    def mmkit_epoch_start(self, steps: int) -> None:
        """Count the epoch's updates: the scores after the last one are compared."""
        self.left = steps

    @hookimpl
    def mmkit_step(self) -> None:
        """One update fewer is left."""
        self.left -= 1

    @hookimpl
    def mmkit_evaluated(self, split: str, epoch: int, figures: dict[str, float]) -> str | None:
        """Report the score of an epoch; returns why to stop, if there is a reason."""
        if split != "dev":
            return None
        if self.left == 0:
            score = weighted_score(figures, self.recipe.training.score)
            if math.isfinite(score) and epoch not in self.reported:
                self.reported.add(epoch)
                self.claimed.trial.report(score, epoch)
            if (
                epoch < self.recipe.training.epochs
                and self.options.prune
                and self.claimed.trial.should_prune()
            ):
                self.pruned = True
                return f"after epoch {epoch}, its score is below the median of other trials"
        if self.options.is_orphan:
            return "the search that started this worker is gone"
        return "the time of the search is up" if self.options.is_over else None


def run_trial(search: Search, claimed: Claimed, options: Options, told: set[str]) -> Outcome | None:
    """Train a trial, from its checkpoint if it has one; None if it was stopped and is to be continued later.

    Raises `MMKitError`s that the settings are not the cause of, `Interrupted` among them.
    """
    search.study.pruner = optuna.pruners.MedianPruner(n_startup_trials=options.prune_after)
    try:
        recipe = search.plan.recipe_of(claimed.frozen.params)
    except RecipeError as error:
        return Outcome(TrialState.FAIL, error=str(error))
    run = Run(search.run_folder(claimed.frozen.number))
    watch = Watch(search, claimed, recipe, options, told)
    watch.reported.update(claimed.frozen.intermediate_values)
    try:
        figures = _scores(run, recipe, watch, options)
    except TrainingStopped:
        return Outcome(TrialState.PRUNED) if watch.pruned else None
    except TrainingError as error:
        return Outcome(TrialState.FAIL, error=str(error))
    score = weighted_score(figures, recipe.training.score)
    if not math.isfinite(score):
        return Outcome(TrialState.FAIL, error=f"its score is not finite: {score}")
    return Outcome(TrialState.COMPLETE, score)


def _scores(run: Run, recipe: Recipe, watch: Watch, options: Options) -> dict[str, float]:
    """The development scores of a trial's run, which is trained unless it is complete."""
    try:
        if (
            run.json_file.exists() and run.facts().get("status") in COMPLETE
        ):  # killed before the study was told
            return run.figures()["dev"]
        return _train(run, recipe, watch, options)
    except RunError as error:
        if error.code not in UNUSABLE or not run.folder.exists():
            raise
        options.say(f"{run.folder} cannot be continued ({error.what}); the trial begins again")
        shutil.rmtree(run.folder)
        return _train(run, recipe, watch, options)
    except KeyError:
        raise RunError("the run has no development scores", where=run.folder, code="search.no-dev") from None


def _train(run: Run, recipe: Recipe, watch: Watch, options: Options) -> dict[str, float]:
    try:
        result = mmkit.train(
            recipe, run.folder, resume=True, device=options.device, quiet=True, hooks=[watch]
        )
    except RunError as error:
        if error.code == "search.other-data" and not run.has_checkpoint():
            shutil.rmtree(run.folder)  # else the run would be tied to these data
        raise
    return result.figures["dev"]


def tidy(search: Search, keep: str) -> None:
    """Remove weights that are not to be kept: after a trial, and of trials that a killed process had ended."""
    trials = search.study.get_trials(deepcopy=False)
    best = best_of(search)
    for trial in trials:
        if trial.state not in (TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAIL) or keep == "all":
            continue
        if trial.state == TrialState.COMPLETE and (keep == "completed" or trial == best):
            continue
        run = Run(search.run_folder(trial.number))
        run.weights_file.unlink(missing_ok=True)
        if run.checkpoint.exists():
            run.remove_checkpoint()
