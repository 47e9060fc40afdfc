"""Weights & Biases: offline in the run's folder, unless the environment says otherwise."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit.trackers import Tracked, Tracker
from mmkit_trackers.needs import need, prefer

if TYPE_CHECKING:
    import wandb

QUIET: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "save_code": False,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "init_timeout": 20.0,
    "finish_timeout": 50.0,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": 1.0,
}
"""Nothing of the machine, the command line or the code is recorded, and waiting for a server ends."""


class WeightsAndBiases(Tracker):
    """Metrics over the axis `step`, the recipe as the run's configuration, tables.

    The project is called like the recipe, seeds are a group. `WANDB_MODE=online` (with `WANDB_API_KEY` and so on) in
    the environment sends everything to the server; without `WANDB_MODE` it stays in `trackers/wandb`, for `wandb sync`.
    """

    _run: wandb.Run
    _rows: Path
    _row: int

    @classmethod
    def check_there(cls) -> None:
        """See that the package wandb is installed."""
        need("wandb", "wandb")

    def start(self, run: Tracked) -> str:
        """An id of the tracker's own, so that a resumed run has the same."""
        prefer(WANDB_ERROR_REPORTING="false")
        import wandb

        id = run.id or uuid.uuid4().hex[:12]
        known = {name: value for name, value in QUIET.items() if name in wandb.Settings.model_fields}
        mode: Any = os.environ.get("WANDB_MODE")  # a word that W&B checks
        group, _, _ = run.name.rpartition("/")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or run.project,
            dir=os.environ.get("WANDB_DIR") or str(run.folder.absolute()),
            id=id,
            name=run.name,
            group=group or None,
            config=dict(run.config),
            resume="allow" if mode else None,
            mode=mode or "offline",
            settings=wandb.Settings(**known),
            reinit="create_new",
        )
        self._rows = run.folder / "rows.txt"
        self._row = int(self._rows.read_text(encoding="utf-8")) if run.id and self._rows.exists() else 0
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        return id

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._log(values, step)

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        """Write a row. W&B's own step must always rise, also over the parts of a resumed run: it counts the rows."""
        self._row += 1
        self._run.log({**values, "step": step}, step=self._row, commit=True)

    def text(self, name: str, text: str, step: int) -> None:
        """A file of the run."""
        (Path(self._run.dir) / f"{name}.txt").write_text(text, encoding="utf-8")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        import wandb

        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)
        self._log({name: table}, step)

    def flush(self) -> None:
        """W&B's own process writes what it has been given, also when this one is killed."""
        self._rows.write_text(str(self._row), encoding="utf-8")

    def finish(self, status: str) -> None:
        self._run.summary["status"] = status
        self._run.finish(exit_code=0 if status in ("completed", "stopped") else 1)

    def place(self) -> str:
        if self._run.offline:
            return f"wandb sync {Path(self._run.dir).parent}"
        return self._run.url or ""
