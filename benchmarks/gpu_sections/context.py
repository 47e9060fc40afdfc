"""What a section is given, and how it tells what it found: rows, checks and facts, written as they come."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Skip(Exception):  # noqa: N818 - no error
    """A section that cannot run here: it says why, and counts neither as done nor as failed."""


@dataclass
class Context:
    """A section's surroundings and its findings."""

    device_name: str
    tiny: bool
    folder: Path
    """A temporary folder of the section's own."""
    golden: Path
    """The folder of golden files; it may be missing."""
    file: Path
    """Where the findings are written after each of them."""
    found: dict[str, Any] = field(default_factory=lambda: {"facts": {}, "checks": [], "rows": []})

    @property
    def device(self) -> torch.device:
        """The device that everything runs on."""
        import torch

        return torch.device(self.device_name)

    @property
    def cuda(self) -> bool:
        """Whether that is a GPU."""
        return self.device.type == "cuda"

    def row(self, **figures: Any) -> None:
        """Something measured."""
        self.found["rows"].append(figures)
        self.write()

    def fact(self, **facts: Any) -> None:
        """What the rows depend on or come to: shapes, ratios."""
        self.found["facts"] |= facts
        self.write()

    def check(self, what: str, error: float, tolerance: float) -> None:
        """A difference and what it may be at most. One that is larger, or no number, fails the section in the end."""
        error = float(error)
        check = {"what": what, "error": error, "tolerance": tolerance, "ok": error <= tolerance}
        self.found["checks"].append(check)
        self.write()

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The checks that did not hold."""
        return [check for check in self.found["checks"] if not check["ok"]]

    def write(self, **outcome: Any) -> None:
        """Write all findings so far, and how the section ended if it has."""
        self.found |= outcome
        write_json(self.file, self.found)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all; numbers that JSON does not know become text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain(content), indent=2, allow_nan=False) + "\n"
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # what any other file has
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Environment variables that hold for a block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
