"""What an actor does on its machine: it loads the model once, and then does the tasks that it is sent.

Tasks and answers are in a column of bytes (`wire`).
"""

from __future__ import annotations

import socket
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mmkit.access.network import without_network
from mmkit.errors import MMKitError, RunError
from mmkit_ray.wire import packed, unpacked

if TYPE_CHECKING:
    from mmkit.annotators.base import Annotator
    from mmkit.inference.shards.plan import Job
    from mmkit.inference.shards.work import Done, Task, Work

TASK, NUMBER = "task", "number"
"""The columns of a table: what is to be done or what came of it, and its number."""


def answered(do: Any, batch: pa.Table) -> pa.Table:
    """The answers to a table of tasks: `("done", result)`, `("error", MMKitError)` or `("bug", traceback)`.

    Errors are answers: Ray would wrap them in its own, and try the task again.
    """
    answers = []
    for task in batch[TASK].to_pylist():
        try:
            answer = ("done", do(unpacked(task)))
        except MMKitError as error:
            answer = ("error", error)
        except Exception:
            answer = ("bug", traceback.format_exc())
        answers.append(packed(answer))
    return pa.table({NUMBER: batch[NUMBER], TASK: pa.array(answers, pa.binary())})


def quiet() -> None:
    """Keep the libraries' advice out of the logs."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


class Predicts:
    """Does the tasks of a prediction. The model is loaded with the first."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.work: Work | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Do the tasks of a table."""
        return answered(self.do, batch)

    def do(self, task: Task) -> Done:
        """Do a task, unless an actor did it whose answer was lost."""
        from mmkit.inference.shards.work import Work, earlier

        check_shared(self.job, task)
        if (done := earlier(self.job, task)) is not None:
            return done
        if self.work is None:
            quiet()
            self.work = Work(self.job, lambda records: None)
        return self.work.do(task)


def finishes(job: Job, task: Task) -> bytes:
    """Make the file of a shard whose parts are done: the answer as bytes. This needs no model."""
    from mmkit.inference.shards.work import Done, earlier, finish

    def do(task: Task) -> Done:
        check_shared(job, task)
        if (done := earlier(job, task)) is not None:
            return done
        finish(job, task.shard, task.part or 0)
        return Done()

    rows = pa.table({NUMBER: [0], TASK: pa.array([packed(task)], pa.binary())})
    found: bytes = answered(do, rows)[TASK][0].as_py()
    return found


def check_shared(job: Job, task: Task) -> None:
    """Raise `RunError` unless this machine sees the files of a task."""
    for path in (job.work, Path(job.run), Path(task.shard.path)):
        if not path.exists():
            raise RunError(
                f"the machine {socket.gethostname()} of the Ray cluster does not have this",
                where=path,
                hint="the run, the input with its images, and --output must lie in a folder that all machines share, "
                "under the same path",
                code="ray.not-shared",
            )


class Annotates:
    """Computes the results of an annotator, which is prepared with the first batch."""

    def __init__(self, annotator: Annotator, device: str, network: bool) -> None:
        self.annotator, self.device, self.network = annotator, device, network
        self.prepared = False

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The results of a table of batches."""
        return answered(self.do, batch)

    def do(self, some: tuple[list[str], list[Any]]) -> dict[str, Any]:
        """The results, by key, of a batch of records."""
        from mmkit.annotators.run import computed
        from mmkit.inference.devices import pick_device

        with without_network("the annotator's recipe", allow=self.network):
            if not self.prepared:
                quiet()
                self.annotator.prepare(str(pick_device(self.device)))
                self.prepared = True
            return computed(self.annotator, *some)
