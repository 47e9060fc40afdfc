"""`metrics.jsonl`: every score as one JSON line, written by hooks like any other tracker would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmkit.files import explained
from mmkit.hooks import hookimpl


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
        """A split's figures."""
        self._append(run, {"split": split, "epoch": epoch, "step": step, **figures})

    def _append(self, run: Path, line: dict[str, Any]) -> None:
        path = run / "metrics.jsonl"
        with explained(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
