"""One tracker at work: its calls in a thread of their own, and what it was told so far, kept for `--resume`."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mmkit.errors import one_line
from mmkit.files import read_json, write_json
from mmkit.trackers import NAMES, Tracked, Tracker

FILE = "mmkit.json"
"""In the tracker's folder: its id of the run, and the last step of each series."""
FORMAT = 1
ID_LENGTH = 200


class TrackerWorker:
    """Calls a tracker's methods in order, in a daemon thread: one that waits for ever holds nothing up.

    After the first exception nothing more is called; `error` says why. Raises `ValueError` or `OSError` if what an
    earlier process wrote of the tracker cannot be read.
    """

    def __init__(self, name: str, tracker: Tracker, run: Tracked) -> None:
        self.name, self.tracker = name, tracker
        self.error = ""
        self.place = ""
        """Where the tracker says to look; there after the first `wait`."""
        self._file = run.folder / FILE
        self._id, self._logged = _read(self._file)
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._ended, self._over = False, threading.Event()
        self._submit(lambda: self._start(replace(run, id=self._id)))
        context = contextvars.copy_context()  # what may be contacted holds for the thread, too
        thread = threading.Thread(target=context.run, args=(self._work,), name=f"tracker {name}", daemon=True)
        thread.start()

    def log(self, series: str, step: int, call: Callable[[], None]) -> None:
        """Let `call` tell the tracker of a step of a series, unless it was told before the run was resumed."""
        self._submit(lambda: self._log(series, step, call))

    def end(self, status: str) -> None:
        """Let the tracker finish. Only `wait` may follow."""
        self._submit(lambda: self.tracker.finish(status))
        self._ended = True
        self._jobs.put(self._over.set)
        self._jobs.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait until everything so far (after `end`: everything) is done; False if that takes longer."""
        if self._ended:
            return self._over.wait(seconds)
        done = threading.Event()
        self._jobs.put(done.set)
        return done.wait(seconds)

    def _submit(self, job: Callable[[], None]) -> None:
        def guarded() -> None:
            if self.error:
                return
            try:
                job()
            except BaseException as error:  # a tracker may raise anything, and its library even exit
                self.error = one_line(error)

        self._jobs.put(guarded)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _start(self, run: Tracked) -> None:
        id = self.tracker.start(run)
        if not _is_id(id):
            raise ValueError(f"start() must return an id of letters, digits and . _ -, not {id!r}")
        if run.id != id:
            self._id, self._logged = id, {}
            self.tracker.text("recipe", run.text, 0)
        self.place = self.tracker.place()
        self._save()

    def _log(self, series: str, step: int, call: Callable[[], None]) -> None:
        if step > self._logged.get(series, -1):
            call()
            self.tracker.flush()
            self._logged[series] = step
            self._save()

    def _save(self) -> None:
        """After the tracker was told: a kill in between repeats one step, and loses none."""
        write_json(self._file, {"format": FORMAT, "id": self._id, "logged": self._logged})


def _is_id(id: Any) -> bool:
    """Whether it may be the id of a run: the file may come from somebody else, so that it is no address or path."""
    return isinstance(id, str) and len(id) <= ID_LENGTH and NAMES.fullmatch(id) is not None


def _read(file: Path) -> tuple[str, dict[str, int]]:
    """What an earlier process wrote; nothing for a run that begins."""
    if not file.exists():
        return "", {}
    content = read_json(file)
    logged = content.get("logged") if isinstance(content, dict) else None
    if not isinstance(logged, dict) or not all(type(step) is int for step in logged.values()):
        raise ValueError(f"{file} is damaged; remove its folder to begin anew")
    return (content["id"], logged) if _is_id(content.get("id")) else ("", {})
