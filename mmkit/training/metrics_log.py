"""`metrics.jsonl`: every score as a JSON line, written by hooks like those of any tracker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonlines

from mmkit.files import explained
from mmkit.hooks import hookimpl

NAME = "metrics.jsonl"


class MetricsLog:
    """Appends a line for each logging step and each evaluation."""

    @hookimpl
    def mmkit_logged(self, run: Path, epoch: int, step: int, figures: dict[str, float]) -> None:
        """Training losses, learning rate and speed: `split` is train."""
        self._append(run, {"split": "train", "epoch": epoch, "step": step, **figures})

    @hookimpl
    def mmkit_evaluated(
        self, run: Path, split: str, epoch: int, step: int, figures: dict[str, float]
    ) -> None:
        """A split's scores."""
        self._append(run, {"split": split, "epoch": epoch, "step": step, **figures})

    def _append(self, run: Path, line: dict[str, Any]) -> None:
        path = run / NAME
        with explained(path), jsonlines.open(path, "a") as log:
            log.write(line)


def rewind(run: Path, size: int) -> None:
    """Remove the log beyond `size` bytes, and an incomplete last line."""
    path = run / NAME
    if path.exists():
        with explained(path), path.open("rb+") as log:
            log.truncate(log.read(size).rfind(b"\n") + 1)
