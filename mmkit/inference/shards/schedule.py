"""Which task is next, what is done, and what failed: the same for one process and for several."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mmkit.errors import DataError
from mmkit.files import read_json
from mmkit.inference.shards.plan import Job, Shard, done_file, part_file
from mmkit.inference.shards.work import Done, Task

TRIES = 2
"""How often a task is begun whose process ends before it is done."""


class Schedule:
    """The tasks of a job that are left. `progress` is called with (records so far, records in all or 0)."""

    def __init__(self, job: Job, shards: Sequence[Shard], progress: Callable[[int, int], None]) -> None:
        self.job, self.shards, self._progress = job, shards, progress
        self.failed: dict[int, DataError] = {}
        """Shards that were given up."""
        self._waiting: deque[Task] = deque()
        self._left: dict[int, int] = {}  # parts of a shard that are not done
        self._tries: dict[tuple[int, int | None, bool], int] = {}
        self._running: dict[int, int] = {}  # process → records of its task so far
        self.before = self.done = self._told = 0
        """Records that are done: by earlier processes, and by all."""
        known = all(shard.parts is not None for shard in shards)
        self.total = sum(part.lines for shard in shards for part in shard.parts or ()) if known else 0
        """Lines of all files; 0 if that is not known."""
        self._by_number = {shard.number: shard for shard in shards}
        for shard in shards:
            self._add(shard)
        self.before = self.done

    def _add(self, shard: Shard) -> None:
        done = done_file(self.job, shard.number)
        if done.exists() and (Path(self.job.output) / shard.output).exists():
            self.done += read_json(done)["records"]
            return
        done.unlink(missing_ok=True)  # its file was removed: it is made again
        if shard.parts is None:
            self._waiting.append(Task(shard))
            return
        bare, left = replace(shard, parts=()), list[Task]()
        for number, part in enumerate(shard.parts):
            summary = part_file(self.job, shard.number, number, "json")
            if summary.exists():
                self.done += read_json(summary)["records"]
            else:
                left.append(Task(bare, number, part))
        self._left[shard.number] = len(left)
        self._waiting.extend(left or [Task(bare, len(shard.parts), finish=True)])

    def next(self) -> Task | None:
        """The next task; None if none is waiting (others may still be running)."""
        while self._waiting:
            task = self._waiting.popleft()
            if task.shard.number not in self.failed:
                return task
        return None

    def moved(self, process: int, records: int) -> None:
        """A process has done further records of its task."""
        self._running[process] = self._running.get(process, 0) + records
        self.tell()

    def finished(self, process: int, task: Task, done: Done) -> None:
        """A process has ended its task."""
        self._running.pop(process, None)
        self.done += done.records
        number = task.shard.number
        if done.failed is not None:
            self.failed[number] = done.failed
        elif task.piece is not None:
            self._left[number] -= 1
            if not self._left[number]:
                parts = len(self._by_number[number].parts or ())
                self._waiting.appendleft(Task(task.shard, parts, finish=True))
        self.tell()

    def lost(self, process: int, task: Task, why: str) -> bool:
        """The process of a task has ended; returns whether the task will be tried again."""
        self._running.pop(process, None)
        key = (task.shard.number, task.part, task.finish)
        self._tries[key] = self._tries.get(key, 1) + 1
        if self._tries[key] <= TRIES:
            self._waiting.appendleft(task)
            return True
        lines = ""
        if task.piece is not None:
            lines = f", lines {task.piece.line} to {task.piece.line + task.piece.lines - 1}"
        self.failed[task.shard.number] = DataError(
            f"the process that predicted it ended {TRIES} times: {why}",
            where=f"{task.shard.path}{lines}",
            hint="look at these lines, or use fewer --workers if the memory is too small",
            code="predict.worker-died",
        )
        return False

    def tell(self) -> None:
        """Tell of the progress."""
        so_far = self.done + sum(self._running.values())
        if so_far != self._told:
            self._told = so_far
            self._progress(so_far, self.total)
