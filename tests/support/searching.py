"""`mmkit search` in this process, and the trials that it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mmkit.cli import main

RATE = ["--training.learning_rate", "1e-4..1e-2", "log"]
"""A setting to search."""


def search(recipe: Path, output: Path, *words: str, trials: int = 2, code: int = 0) -> str:
    """Run the command in this process; returns what it prints."""
    options = ["--output", str(output), "--trials", str(trials), "--device", "cpu"]
    done = CliRunner().invoke(main, ["search", str(recipe), *options, *words])
    assert done.exit_code == code, done.output
    return done.output


def rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of `trials.jsonl`."""
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()]
