"""Several worker processes. One that ends is noticed, and its task is given to a new one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from mmkit.errors import RunError
from mmkit.inference.shards.plan import Job
from mmkit.inference.shards.schedule import Schedule
from mmkit.inference.shards.work import Task

COMMAND = "from mmkit.inference.shards.worker import main; main()"


class Worker:
    """A process that does one task at a time."""

    def __init__(self, job: Job, number: int, threads: int, alive: int, task: Task) -> None:
        self.number = number
        self.task: Task | None = task  # it is sent when the model is loaded
        self.ready = False
        self.connection, theirs = Pipe()
        numbers = (theirs.fileno(), alive, number, threads)
        # A command, not multiprocessing's `spawn`, which imports the user's script again. A group of its own keeps
        # Ctrl-C from it: the process that started it ends it.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", COMMAND, *map(str, numbers)],
            pass_fds=(theirs.fileno(), alive),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            process_group=0,
        )
        theirs.close()
        self._send(job)

    def _send(self, what: object) -> None:
        try:
            self.connection.send(what)
        except OSError:  # it has ended, which the next `recv` says
            return

    def give(self, task: Task) -> None:
        """Give it a task."""
        self.task = task
        self._send(task)

    def end(self) -> str:
        """End the process, and say how it ended if it has ended by itself."""
        self.connection.close()
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class Pool:
    """`workers` processes, which share the processors' cores."""

    def __init__(self, job: Job, workers: int, note: Callable[[str], None]) -> None:
        self.job, self.workers, self.note = job, workers, note
        self.threads = threads_each(workers)

    def run(self, schedule: Schedule) -> None:
        """Do all tasks. Raises the first error that stops everything; the processes are ended in any case."""
        ours, theirs = os.pipe()  # `ours` is read by the workers, and ends when this process does
        running: dict[Connection, Worker] = {}
        started = 0
        try:
            while True:
                for worker in running.values():
                    if worker.task is None and (task := schedule.next()) is not None:
                        worker.give(task)
                while len(running) < self.workers and (task := schedule.next()) is not None:
                    worker = Worker(self.job, started, self.threads, ours, task)
                    running[worker.connection] = worker
                    started += 1
                if all(worker.task is None for worker in running.values()):
                    return
                for connection in wait(list(running)):
                    assert isinstance(connection, Connection)
                    self._hear(running, running[connection], schedule)
        finally:
            os.close(theirs)
            os.close(ours)
            for worker in running.values():
                worker.process.kill()
            for worker in running.values():
                worker.end()

    def _hear(self, running: dict[Connection, Worker], worker: Worker, schedule: Schedule) -> None:
        """Read one message of a worker, or see that it has ended."""
        try:
            kind, content = worker.connection.recv()
        except (EOFError, OSError):
            del running[worker.connection]
            self._ended(worker, schedule)
            return
        if kind == "error":
            raise content
        if kind == "bug":
            raise RuntimeError(f"in a worker process:\n{content}")
        if kind == "records":
            schedule.moved(worker.number, content)
            return
        if kind == "ready":
            worker.ready = True
            assert worker.task is not None
            worker.give(worker.task)
            return
        assert worker.task is not None
        schedule.finished(worker.number, worker.task, content)
        worker.task = None

    def _ended(self, worker: Worker, schedule: Schedule) -> None:
        """Say that a worker has ended by itself, and what becomes of its task."""
        how = worker.end()
        if not worker.ready:
            raise RunError(
                f"a worker process ended while it loaded the model: {how}",
                where=self.job.run,
                hint="use fewer --workers if the memory is too small for several models",
                code="predict.worker-start",
            )
        if worker.task is not None:
            again = schedule.lost(worker.number, worker.task, how)
            then = "its work is tried again" if again else "its file is given up"
            self.note(f"warning: a worker process ended ({how}) with {worker.task.shard.path}; {then}")


def threads_each(workers: int) -> int:
    """The threads of each of several processes; 0, as torch has it, where OMP_NUM_THREADS says it."""
    if os.environ.get("OMP_NUM_THREADS"):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // workers)
