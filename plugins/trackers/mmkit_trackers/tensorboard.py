"""TensorBoard: event files in the run's folder, written by PyTorch's writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmkit.trackers import Tracked, Tracker
from mmkit_trackers.forms import code_block, markdown_table
from mmkit_trackers.needs import need

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(Tracker):
    """Scalars, and recipe and tables as texts, in `trackers/tensorboard`. Nobody is contacted."""

    _writer: SummaryWriter
    _run: Tracked

    @classmethod
    def check_there(cls) -> None:
        """See that the package tensorboard is installed."""
        need("tensorboard", "tensorboard")

    def start(self, run: Tracked) -> str:
        """A further event file in the same folder belongs to the same run."""
        from torch.utils.tensorboard import SummaryWriter

        self._run = run
        self._writer = SummaryWriter(str(run.folder))
        return run.id or "events"

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def text(self, name: str, text: str, step: int) -> None:
        self._writer.add_text(name, code_block(text), step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        self._writer.add_text(name, markdown_table(columns, rows), step)

    def flush(self) -> None:
        self._writer.flush()

    def finish(self, status: str) -> None:
        """A status may come several times: once for each time that the run was resumed."""
        self._writer.add_text("status", status)
        self._writer.close()

    def place(self) -> str:
        return f"tensorboard --logdir {self._run.run.parent}"
