"""Memory of this process alone: `ru_maxrss` also counts the parent that started it. Imports nothing large."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def memory(kind: Literal["RssAnon", "VmHWM"]) -> int:
    """Bytes of this process, as the kernel counts them: `RssAnon`, which no file backs, or `VmHWM`, the peak of all."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this benchmark reads /proc/self/status, as Linux has it")
