"""Where the parts of a large job are done: a plugin may bring other machines for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from mmkit.annotators.base import Annotator
    from mmkit.inference.shards.plan import Job
    from mmkit.inference.shards.schedule import Schedule

EXECUTOR = "mmkit.executor"
"""Where the context of a command (`click.Context.meta`) keeps the executor that an option has chosen."""


class Executor(ABC):
    """Does the tasks of `mmkit predict` for files, and of `mmkit annotate`, in place of processes of this machine.

    A plugin gives the two commands an option (the hook `mmkit_command_options`) whose callback puts an executor into
    `context.meta[EXECUTOR]`. What is computed, and what is written, does not depend on it.
    """

    option: ClassVar[str]
    """The option that chooses it, for messages: `--ray`."""

    @abstractmethod
    def predict(self, job: Job, schedule: Schedule, workers: int | None, note: Callable[[str], None]) -> None:
        """Do all tasks of `schedule`; `workers` is the number of processes that the user wants, if any.

        Each process makes one `mmkit.inference.shards.work.Work` of the job and calls `do` with task after task; a
        task to `finish` needs no model. The results go to `schedule.finished`, and tasks whose process ended to
        `schedule.lost`, which says whether they are tried again. Raises `MMKitError`: what `Work` raises stops
        everything.
        """

    @abstractmethod
    def annotate(
        self, annotator: Annotator, missing: Mapping[str, Any], device: str
    ) -> Iterator[dict[str, Any]]:
        """Results by key, in batches of any size and order, of the records by key.

        This process stores each batch before it asks for the next one, so that the others write nothing. A record
        that has no result gets `mmkit.annotators.base.Failed`. `device` is as the user named it, such as `auto`.
        """
