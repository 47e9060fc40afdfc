"""`RayExecutor`: the parts of a prediction, and the batches of an annotator, on the machines of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mmkit.access.network import network_allowed
from mmkit.errors import RunError
from mmkit.inference.executor import Executor
from mmkit_ray.cluster import LOCAL, cluster
from mmkit_ray.shares import Shares
from mmkit_ray.wire import unpacked

if TYPE_CHECKING:
    from types import ModuleType

    from mmkit.annotators.base import Annotator
    from mmkit.inference.shards.plan import Job
    from mmkit.inference.shards.schedule import Schedule
    from mmkit.inference.shards.work import Task
    from mmkit_ray.rounds import Round

PASSES = 5
"""How often in a row Ray may give up before everything ends."""
TRIES = 2
"""How often a batch of records is begun whose process ends before it is done."""


class RayExecutor(Executor):
    """Works on the Ray cluster at `address`: `HOST:PORT`, `auto`, or `local` for one that is started for the work."""

    option: ClassVar[str] = "--ray"

    def __init__(self, address: str = LOCAL) -> None:
        self.address = address

    def predict(self, job: Job, schedule: Schedule, workers: int | None, note: Callable[[str], None]) -> None:
        """Do all tasks of a prediction. Files are read and written by the actors; here, only answers come in."""
        tasks = waiting(schedule)
        if not tasks:
            return
        with cluster(self.address) as ray:
            patience = Patience()
            before: set[tuple[int, int | None]] = set()
            alone: list[Task] = []
            while tasks or alone:
                some = tasks or [alone.pop()]
                shares = Shares.of(ray.nodes(), workers, job.device)
                one, lost = self._pass(ray, job, schedule, some, shares)
                tasks = []
                if patience.tried(one):
                    tasks, lost = lost, []
                for task in lost:
                    key = task.shard.number, task.part
                    if key in before and len(some) > 1:
                        alone.append(task)  # the end of another's process may have taken it along
                    else:
                        before.add(key)
                        tell(schedule, task, one.why, note)
                tasks += waiting(schedule)

    def _pass(
        self, ray: ModuleType, job: Job, schedule: Schedule, tasks: Sequence[Task], shares: Shares
    ) -> tuple[Round, list[Task]]:
        """Do tasks once, and what becomes possible by them. Returns those without an answer, too."""
        from mmkit_ray.rounds import Round, how
        from mmkit_ray.workers import Predicts, finishes

        finishing = ray.remote(num_cpus=0, max_retries=1)(finishes)
        asked = [(task, finishing.remote(job, task)) for task in tasks if task.finish]
        left = dict(enumerate(task for task in tasks if not task.finish))
        one = Round(ray, list(left.values()), Predicts, (job,), shares)
        for number, kind, answer in one if left else ():
            schedule.finished(0, left.pop(number), checked(kind, answer))
            asked += [(task, finishing.remote(job, task)) for task in waiting(schedule)]
        lost = list(left.values())
        for task, reference in asked:
            try:
                answer = unpacked(ray.get(reference))
            except ray.exceptions.RayError as error:
                one.why = how(error)
                lost.append(task)
            else:
                schedule.finished(0, task, checked(*answer))
        return one, lost

    def annotate(
        self, annotator: Annotator, missing: Mapping[str, Any], device: str
    ) -> Iterator[dict[str, Any]]:
        """Results of an annotator, computed by actors. This process stores them."""
        from mmkit.annotators.base import Failed
        from mmkit_ray.rounds import Round
        from mmkit_ray.workers import Annotates

        keys, records = list(missing), list(missing.values())
        starts = range(0, len(keys), annotator.batch_size)
        batches = [
            (keys[i : i + annotator.batch_size], records[i : i + annotator.batch_size]) for i in starts
        ]
        if not batches:
            return
        with cluster(self.address) as ray:
            patience, why = Patience(), ""
            before = False
            alone: list[Any] = []
            while batches or alone:
                some = batches or [alone.pop()]
                arguments = (annotator, device, network_allowed())
                one = Round(ray, some, Annotates, arguments, Shares.of(ray.nodes(), None, device))
                done = set()
                for number, kind, answer in one:
                    done.add(number)
                    yield checked(kind, answer)
                lost, batches, why = [x for i, x in enumerate(some) if i not in done], [], one.why
                if patience.tried(one) or not before:
                    batches, before = lost, before or not one.cut_short
                elif len(some) > 1:
                    alone += lost
                else:
                    reason = f"the process that computed it ended {TRIES} times: {why}"
                    yield {key: Failed(reason) for some_keys, _ in lost for key in some_keys}


class Patience:
    """Counts the passes in a row that Ray gave up."""

    def __init__(self) -> None:
        self.given_up = 0

    def tried(self, one: Round) -> bool:
        """Whether a pass was cut short. Raises `RunError` after `PASSES` of them in a row."""
        self.given_up = self.given_up + 1 if one.cut_short else 0
        if self.given_up == PASSES:
            raise RunError(
                f"Ray could not start a process {PASSES} times: {one.why}",
                where="--ray",
                hint="look at `ray status` and Ray's logs; the same command goes on",
                code="ray.no-process",
            )
        return one.cut_short


def waiting(schedule: Schedule) -> list[Task]:
    """The tasks that wait."""
    return list(iter(schedule.next, None))


def checked(kind: str, answer: Any) -> Any:
    """The answer of an actor. Raises its error, if it is one."""
    if kind == "error":
        raise answer
    if kind == "bug":
        raise RuntimeError(f"in a worker process:\n{answer}")
    return answer


def tell(schedule: Schedule, task: Task, why: str, note: Callable[[str], None]) -> None:
    """Say that a task has no answer, and what becomes of it."""
    again = schedule.lost(0, task, why)
    then = "its work is tried again" if again else "its file is given up"
    note(f"warning: a worker process ended with {task.shard.path}; {then}: {why}")
