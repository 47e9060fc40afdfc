"""Sides of a comparison in processes of their own that take turns: each works when it is told to, while others wait.

So a machine that is slower for a while is slower for all sides, and each side starts once.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any


class Trainer:
    """A process that was started by `command`, and what it told: of its start, of each turn, and of its end."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        pipe, changed = subprocess.PIPE, {**os.environ, **environment}
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=changed)
        self._row = self._told()
        self.turns: list[dict[str, Any]] = []

    def turn(self) -> dict[str, Any]:
        """What it tells of one more turn."""
        self.turns.append(self._asked("turn"))
        return self.turns[-1]

    def end(self) -> dict[str, Any]:
        """All it told: medians of its turns."""
        last = self._asked("end")
        self._process.communicate()
        medians = {key: statistics.median(turn[key] for turn in self.turns) for key in self.turns[0]}
        return {**self._row, **medians, "turns": len(self.turns), **last}

    def _asked(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._told()

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                told: dict[str, Any] = json.loads(line)
                return told
        raise SystemExit(f"ended early, with {self._process.wait()}: {self._process.args!r}")


def tell(**facts: Any) -> None:
    """In such a process: tell something."""
    print(json.dumps(facts), flush=True)


def turns_asked_for() -> Iterator[bool]:
    """In such a process: True for each turn that is asked for, then False for the end."""
    for line in sys.stdin:
        yield line.strip() == "turn"
