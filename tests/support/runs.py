"""What tests look at in a run's folder, and hooks that note what a run tells or send it a signal."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from mmkit.hooks import hookimpl


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def equal(one: Path, other: Path) -> bool:
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


class Notes:
    """Notes what a run tells."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @hookimpl
    def mmkit_note(self, message: str) -> None:
        self.said.append(message)


class Stopper:
    """Sends this process a signal when the training hook `at` is called."""

    def __init__(self, at: str, number: int = signal.SIGINT) -> None:
        self.at, self.number, self.waiting = at, number, True

    def _send(self, name: str) -> None:
        if name == self.at and self.waiting:
            self.waiting = False
            os.kill(os.getpid(), self.number)

    @hookimpl
    def mmkit_note(self) -> None:
        self._send("note")

    @hookimpl
    def mmkit_evaluated(self, split: str) -> None:
        self._send(split)
