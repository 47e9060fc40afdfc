"""What trackers are told of a run: a hook implementation like the display, which `mmkit.training.train` registers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.access.secrets import without_secrets
from mmkit.errors import one_line
from mmkit.files import check_inside
from mmkit.hooks import hookimpl, manager
from mmkit.runs.folder import COMPLETE
from mmkit.trackers import Tracked, trackers_of
from mmkit.training.tables import Table, label_tables, samples
from mmkit.training.tracker_worker import FILE, TrackerWorker

if TYPE_CHECKING:
    from mmkit.data.types import Example, Prediction
    from mmkit.recipe import Recipe

FOLDER = "trackers"
"""The folder in the run's folder, with a folder for each tracker."""
START_SECONDS = 30.0
"""How long the first update waits for a tracker to start; a slower one catches up later."""
END_SECONDS = 60.0
"""How long the end of training waits for a tracker to write what is left."""


class Tracking:
    """Hands what a run tells to the trackers of `training.trackers`. Nothing here changes or stops the training."""

    def __init__(self) -> None:
        self._workers: list[TrackerWorker] = []
        self._samples: Table | None = None
        self._run = Path()

    @hookimpl
    def mmkit_run_start(self, run: Path, recipe: Recipe, total_steps: int) -> None:
        """Start the trackers, each in a thread of its own."""
        self._run = run
        for name, kind in trackers_of(recipe).items():
            told = Tracked(
                run=run,
                folder=run / FOLDER / name,
                name=run_name(run),
                project=recipe.name,
                config=without_secrets(recipe.config),
                text=without_secrets(recipe.to_str()),
                total_steps=total_steps,
            )
            try:
                check_inside(run, told.folder / FILE)
                told.folder.mkdir(parents=True, exist_ok=True)
                worker = TrackerWorker(name, kind(), told)
            except Exception as error:  # a tracker may raise anything, and the disk may be full
                _note(
                    f"warning: the tracker {name!r} could not be started: {without_secrets(one_line(error))}"
                )
                continue
            self._workers.append(worker)
            if not worker.wait(START_SECONDS):
                _note(
                    f"warning: the tracker {name!r} has not started within {START_SECONDS:.0f} s; training goes on"
                )
            elif worker.place:
                _note(f"tracked by {name}; to see it: {without_secrets(worker.place)}")
        self._tell_failed()

    @hookimpl
    def mmkit_logged(self, step: int, figures: dict[str, float]) -> None:
        """Losses, learning rate and speed, as `train/<name>`."""
        self._scalars("train", figures, step)

    @hookimpl
    def mmkit_evaluated(self, split: str, step: int, figures: dict[str, float]) -> None:
        """A split's scores, as `<split>/<metric>.<name>`."""
        self._scalars(split, figures, step)

    @hookimpl
    def mmkit_scored(
        self,
        folder: Path,
        split: str,
        recipe: Recipe,
        examples: Sequence[Example],
        predictions: Sequence[Prediction],
    ) -> None:
        """Keep some predictions of the development set for the end."""
        if self._workers and folder == self._run and split == "dev":
            self._samples = samples(recipe, examples, predictions)

    @hookimpl
    def mmkit_run_end(self, status: str, summary: dict[str, Any]) -> None:
        """Tables of the best epoch, and the end; waits for what the trackers still have to write."""
        step, tables = 0, {}
        if status in COMPLETE:
            step, tables = summary["best_step"], label_tables(summary["figures"])
            if self._samples is not None:
                tables["dev/predictions"] = self._samples
        for worker in self._workers:
            for name, (columns, rows) in tables.items():
                worker.log(name, step, partial(worker.tracker.table, name, columns, rows, step))
            worker.end(status)
        for worker in self._workers:
            if not worker.wait(END_SECONDS):
                _note(
                    f"warning: the tracker {worker.name!r} did not finish within {END_SECONDS:.0f} s; what it has "
                    "not written yet may be lost"
                )
        self._tell_failed()
        self._workers = []

    def _scalars(self, series: str, figures: dict[str, float], step: int) -> None:
        values = {f"{series}/{name}": value for name, value in figures.items()}
        for worker in self._workers:
            worker.log(series, step, partial(worker.tracker.scalars, values, step))
        self._tell_failed()

    def _tell_failed(self) -> None:
        """One warning for each tracker that failed; the others go on."""
        for worker in [worker for worker in self._workers if worker.error]:
            self._workers.remove(worker)
            _note(
                f"warning: the tracker {worker.name!r} failed, and training goes on without it: "
                f"{without_secrets(worker.error)}"
            )


def run_name(run: Path) -> str:
    """What people call a run: the name of its folder, and that of the folder of seeds before it."""
    run = run.absolute()
    return f"{run.parent.name}/{run.name}" if run.name.startswith("seed-") else run.name


def _note(message: str) -> None:
    manager().hook.mmkit_note(message=message)
