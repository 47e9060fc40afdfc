"""The files in which a search says what it found, and how their values are shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmkit.errors import escaped
from mmkit.metrics.scoring import weights_of
from mmkit_search.space import written

TRIALS = "trials.jsonl"
IMPORTANCE = "importance.json"
BEST = "best.cfg"

ENOUGH = 4
"""Completed trials, from which on it is worked out how much settings matter."""
TOO_FEW = (
    f"too few trials to see which settings matter: it takes {ENOUGH} completed ones with different scores"
)


def run_folder(folder: Path, trial: int) -> Path:
    """The run of a trial; trials count from 1 here, and from 0 in Optuna."""
    return folder / "trials" / f"{trial:04d}"


def name_of(score: str | Mapping[str, float]) -> str:
    """What `training.score` is called: `f1`, or `f1 + 0.5 × accuracy`."""
    return " + ".join(
        name if weight == 1 else f"{weight:g} × {name}" for name, weight in weights_of(score).items()
    )


def shown(value: Any) -> str:
    """A setting's value in a table; numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else escaped(written(value))
