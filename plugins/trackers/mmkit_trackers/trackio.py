"""Trackio: its own database on this machine, or what the environment names."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmkit.trackers import Tracked, Tracker
from mmkit_trackers.forms import code_block, flat, markdown_table
from mmkit_trackers.needs import need

if TYPE_CHECKING:
    from trackio.run import Run


class Trackio(Tracker):
    """Metrics, the recipe as configuration, and recipe and tables as Markdown.

    Trackio has one folder for all runs of a machine, which `TRACKIO_DIR` may name. Only `TRACKIO_SPACE_ID` and
    `TRACKIO_SERVER_URL` in the environment send anything elsewhere.
    """

    _run: Run
    _project: str

    @classmethod
    def check_there(cls) -> None:
        """See that the package trackio is installed."""
        need("trackio", "trackio")

    def start(self, run: Tracked) -> str:
        """Trackio goes on with a run of the same name, so that the name has an id in it."""
        import trackio

        id, self._project = run.id or uuid.uuid4().hex[:8], run.project
        group, _, _ = run.name.rpartition("/")
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            self._run = trackio.init(
                project=run.project,
                name=f"{run.name}-{id}",
                group=group or None,
                config=dict(flat(run.config)),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return id

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def text(self, name: str, text: str, step: int) -> None:
        import trackio

        self._run.log({name: trackio.Markdown(code_block(text))}, step=step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        import trackio

        self._run.log({name: trackio.Markdown(markdown_table(columns, rows))}, step=step)

    def finish(self, status: str) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self._run.finish()

    def place(self) -> str:
        return f"trackio show --project {self._project}"
