"""A third party's tracker, and trackers that fail or hang, for tests of what training does with them."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit.errors import PartError
from mmkit.hooks import hookimpl
from mmkit.trackers import Tracked, Tracker


class FileTracker(Tracker):
    """Appends a JSON line for each call to `calls.jsonl` in its folder."""

    def start(self, run: Tracked) -> str:
        self.file = run.folder / "calls.jsonl"
        self._note(
            "start", name=run.name, project=run.project, id=run.id, epochs=run.config["training"]["epochs"]
        )
        return run.id or "mine-1"

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._note("scalars", values=dict(values), step=step)

    def text(self, name: str, text: str, step: int) -> None:
        self._note("text", name=name, text=text, step=step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        self._note("table", name=name, columns=list(columns), rows=[list(row) for row in rows], step=step)

    def finish(self, status: str) -> None:
        self._note("finish", status=status, thread=threading.current_thread().name)

    def place(self) -> str:
        return "http://somebody:hunter2hunter2@example.org/"

    def _note(self, kind: str, **what: Any) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **what}) + "\n")


class Broken(FileTracker):
    """Fails at the first scores of the development set."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        if any(name.startswith("dev/") for name in values):
            raise ConnectionError("no answer from https://me:hunter2hunter2@tracker.example/api")
        super().scalars(values, step)


class Exiting(FileTracker):
    """Its library ends the process, as some do."""

    def start(self, run: Tracked) -> str:
        raise SystemExit(3)


class Hanging(FileTracker):
    """Waits for ever for its server."""

    def start(self, run: Tracked) -> str:
        threading.Event().wait()
        return "never"


class Killing(FileTracker):
    """Kills its process when it is told of update 12 for the first time."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        killed = self.file.with_name("killed")
        if step == 12 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().scalars(values, step)


class Lacking(FileTracker):
    """Needs a package that is not there."""

    @classmethod
    def check_there(cls) -> None:
        raise PartError(
            "the tracker 'lacking' needs the package nothing", hint="pip install nothing", code="t.lacking"
        )


class Plugin:
    """Brings all of them."""

    @hookimpl
    def mmkit_trackers(self) -> dict[str, str]:
        names = {"file": "FileTracker", "broken": "Broken", "hanging": "Hanging", "exiting": "Exiting"}
        names |= {"killing": "Killing", "lacking": "Lacking"}
        found = {name: f"{__name__}:{kind}" for name, kind in names.items()}
        return {**found, "no-class": "json:dumps", "no-module": "nowhere_at_all:Tracker"}


def calls(run: Path, tracker: str = "file") -> list[dict[str, Any]]:
    """What a tracker of a run was told."""
    text = (run / "trackers" / tracker / "calls.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
