"""The thread that owns the models: it answers requests that wait together as one batch."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from mmkit.errors import DataError, MMKitError
from mmkit_serve.runs import Ask, ServedRun, Told

RECENT = 0.3
"""The weight of the last batch in the time that a batch is expected to take."""


@dataclass(eq=False)
class Job:
    """One question, or (without one) a call that needs the models' thread."""

    run: ServedRun
    deadline: float
    ask: Ask | None = None
    call: Callable[[], Any] | None = None
    future: Future[Any] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class Observer:
    """What a worker tells of its work; metrics derive from it."""

    def batch(self, run: str, size: int, waited: Sequence[float], seconds: float) -> None:
        """A batch was computed. `waited` are the seconds that its requests had waited."""


class Worker:
    """A bounded queue of questions, and the thread that answers them.

    All questions for the run of the oldest that wait, up to its batch size, are computed together. If the model is
    idle when a question arrives, it waits `batch_wait` seconds for others.
    """

    def __init__(
        self,
        capacity: int,
        batch_wait: float = 0.0,
        batch_size: int | None = None,
        observer: Observer | None = None,
        patience: float = math.inf,
    ) -> None:
        self.capacity, self.batch_wait, self.batch_size = capacity, batch_wait, batch_size
        self.patience = patience
        """Seconds within which an answer is to come: what would wait longer is refused at once."""
        self.observer = observer or Observer()
        self._jobs: deque[Job] = deque()
        self._batch_seconds: dict[str, float] = {}
        self._expected = 0.0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="mmkit-model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, then end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs and takes questions."""
        return self._thread.is_alive() and not self._stopping

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        return len(self._jobs)

    @property
    def full(self) -> bool:
        """Whether a question would be refused."""
        return len(self._jobs) >= self.capacity or self._expected > self.patience

    def submit(self, run: ServedRun, asks: Sequence[Ask], seconds: float) -> list[Future[Told]]:
        """Queue questions, all of them or none. Raises `MMKitError` if the queue is full.

        A future that is cancelled before its turn costs nothing. It raises what a question's answer raises.
        """
        deadline = time.monotonic() + seconds
        return self._put([Job(run, deadline, ask) for ask in asks])

    def call(self, run: ServedRun, function: Callable[[], Any], seconds: float) -> Future[Any]:
        """Queue a call that reads what only the models' thread may."""
        return self._put([Job(run, time.monotonic() + seconds, call=function)])[0]

    def _put(self, jobs: list[Job]) -> list[Future[Any]]:
        with self._changed:
            if self._stopping:
                raise MMKitError("the server is stopping", code="serve.stopping")
            if len(jobs) > self.capacity:
                raise DataError(
                    f"a request of {len(jobs):,} texts never fits into the queue of {self.capacity:,}",
                    hint="send fewer together",
                    code="serve.too-many-texts",
                )
            if len(self._jobs) + len(jobs) > self.capacity or self._expected > self.patience:
                raise queue_full()
            self._jobs.extend(jobs)
            self._expect()
            self._changed.notify_all()
        return [job.future for job in jobs]

    def _work(self) -> None:
        while jobs := self._next():
            now = time.monotonic()
            due = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            late = [job for job in due if job.deadline < now]
            for job in late:
                job.future.set_exception(timed_out())
            ready = [job for job in due if job.deadline >= now]
            for job in ready:
                if job.call is not None:
                    self._call(job, job.call)
            asked = [(job, job.ask) for job in ready if job.ask is not None]
            if asked:
                self._answer(asked, now)
            del jobs, due, late, ready, asked  # no picture is kept while the queue is empty

    def _next(self) -> list[Job]:
        """The jobs to do together; empty when the thread is to end."""
        with self._changed:
            idle = not self._jobs
            while not self._jobs:
                if self._stopping:
                    return []
                self._changed.wait()
            run = self._jobs[0].run
            most = self.batch_size or run.batch_size
            if idle and self.batch_wait:
                until = time.monotonic() + self.batch_wait
                while not self._stopping and len(self._jobs) < most:
                    left = until - time.monotonic()
                    if left <= 0:
                        break
                    self._changed.wait(left)
            chosen = [job for job in self._jobs if job.run is run][:most]
            taken = set(map(id, chosen))
            self._jobs = deque(job for job in self._jobs if id(job) not in taken)
            self._expect()
            return chosen

    def _expect(self) -> None:
        """Estimate the seconds until all that waits is computed, from how long batches of each run took so far."""
        texts = [job.run for job in self._jobs if job.ask is not None]
        waiting = Counter((run.name, self.batch_size or run.batch_size) for run in texts)
        self._expected = sum(
            math.ceil(number / size) * self._batch_seconds.get(name, 0.0)
            for (name, size), number in waiting.items()
        )

    def _answer(self, asked: Sequence[tuple[Job, Ask]], begun: float) -> None:
        run = asked[0][0].run
        try:
            found = run.told([ask for _, ask in asked], self.batch_size or run.batch_size)
        except BaseException as error:  # the thread must live
            found = [error if isinstance(error, Exception) else RuntimeError(repr(error))] * len(asked)
        for (job, _), told in zip(asked, found, strict=True):
            if isinstance(told, Exception):
                job.future.set_exception(told)
            else:
                job.future.set_result(told)
        waited = [begun - job.arrived for job, _ in asked]
        seconds = time.monotonic() - begun
        with self._changed:
            before = self._batch_seconds.get(run.name, seconds)
            self._batch_seconds[run.name] = before + RECENT * (seconds - before)
            self._expect()
        self.observer.batch(run.name, len(asked), waited, seconds)

    def _call(self, job: Job, function: Callable[[], Any]) -> None:
        try:
            job.future.set_result(function())
        except Exception as error:
            job.future.set_exception(error)


def queue_full() -> MMKitError:
    """The error of a request that would have to wait too long."""
    return MMKitError(
        "too many requests wait for the model",
        hint="try again after the seconds in the header Retry-After",
        code="serve.queue-full",
    )


def timed_out() -> MMKitError:
    """The error of a request whose answer took too long."""
    return MMKitError(
        "the answer took too long",
        hint="try again later, or send shorter texts and fewer images",
        code="serve.timeout",
    )
