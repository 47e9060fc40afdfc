"""Which run torchrun's processes go on with when it has started them again: one that they have begun themselves.

If there is an older run in `--output`, the first start ends with an error, and torchrun may start the processes again.
That start must end with the same error, and not go on with the older run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from accelerate.utils import gather_object

from mmkit.files.temporary import SUFFIX
from mmkit.runs.folder import Run
from mmkit.terminal.elastic import agent, restarts

KEY = "launch"
"""In `run.json`: the agents that began the run, or went on with it last."""


@dataclass(frozen=True)
class Launch:
    """What torchrun says of all processes that train together; nothing where it did not start them."""

    restarts: int = 0
    """How often it has started them again. A machine that has joined later counts from 0: the most of all counts."""
    agents: tuple[str, ...] = ()
    """See `mmkit.terminal.elastic.agent`; one for each machine."""

    @classmethod
    def of_all(cls) -> Launch:
        """All processes must call it."""
        told = gather_object([(restarts(), agent())])
        return cls(max(count for count, _ in told), tuple(sorted({name for _, name in told if name})))

    def facts(self) -> dict[str, list[str]]:
        """What `run.json` keeps."""
        return {KEY: list(self.agents)} if self.agents else {}

    def mark(self, run: Run) -> None:
        """Say in the run's folder who begins it, until `unmark`: a process may end before `run.json` says it."""
        for file in self._marks(run):
            file.touch()

    def unmark(self, run: Run) -> None:
        """`run.json` says it now."""
        for file in self._marks(run):
            file.unlink(missing_ok=True)

    def began(self, run: Run) -> bool:
        """Whether the run in a folder was begun by this torchrun. A folder with nothing in it is no other's, either."""
        if run.is_empty() or any(file.exists() for file in self._marks(run)):
            return True
        known = run.facts_if_any().get(KEY)
        return isinstance(known, list) and any(name in known for name in self.agents)

    def _marks(self, run: Run) -> Iterator[Path]:
        return (run.folder / f".{KEY}.{name}{SUFFIX}" for name in self.agents)
