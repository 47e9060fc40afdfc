"""What the benchmarks share: the machine's description, a table on the screen, a JSON file beside it."""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What a result depends on: processor, cores, GPU, versions, day."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        processor = names[0] if names else processor
    return {
        "cpu": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Operations(TorchDispatchMode):
    """Counts tensor operations while it is entered; views, which launch nothing on a GPU, do not count."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        results = result if isinstance(result, list | tuple) else [result]
        self.count += not function.is_view and any(isinstance(one, torch.Tensor) for one in results)
        return result


PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm")
"""Names of matrix products, or how they begin."""


class Products(TorchDispatchMode):
    """Keeps the matrix products that are made while it is entered, with their operands, to make them again."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Callable[[], object]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function.name().startswith(PRODUCTS):
            self.made.append(partial(function, *args, **kwargs))
        return function(*args, **kwargs)

    def seconds(self, repeats: int = 20) -> float:
        """The least CPU time that all of them take alone, one after the other."""
        best = float("inf")
        with torch.no_grad():
            for _ in range(repeats):
                start = time.process_time()
                for product in self.made:
                    product()
                best = min(best, time.process_time() - start)
        return best


def operations(call: Callable[[], object]) -> int:
    """How many tensor operations `call` does, with those of its backward pass."""
    with Operations() as counted:
        call()
    return counted.count


def seconds_each(
    call: Callable[[], object], repeats: int, device: torch.device, warm_up: int = 3
) -> list[float]:
    """Seconds of each of `repeats` calls, after some to warm up: by CUDA's own clock on a GPU."""
    for _ in range(warm_up):
        call()
    synchronize(device)
    if device.type != "cuda":
        return [_wall_seconds(call) for _ in range(repeats)]
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for start, end in events:
        start.record()
        call()
        end.record()
    synchronize(device)
    return [start.elapsed_time(end) / 1e3 for start, end in events]


def _wall_seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class GpuMemory:
    """Peaks of a GPU's allocated memory, of parts of a process and of all of it."""

    def __init__(self) -> None:
        self._highest = 0

    def begin(self, device: torch.device) -> int:
        """Begin a part with a peak of its own; returns the bytes that are allocated now."""
        if device.type != "cuda":
            return 0
        gc.collect()
        torch.cuda.empty_cache()
        self._highest = self.highest(device)
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)

    def peak(self, device: torch.device) -> int:
        """The most bytes since the last `begin`; 0 where the device is no GPU."""
        return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0

    def highest(self, device: torch.device) -> int:
        """The most bytes of the whole process."""
        return max(self._highest, self.peak(device))


GPU_MEMORY = GpuMemory()
"""This process's."""


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of `call` over `repeats`, after one call to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def report(name: str, rows: Sequence[dict[str, Any]], **facts: Any) -> None:
    """Print rows as a table and write them, with the machine, to `results/<name>.json`."""
    table = Table(title=name)
    for column in rows[0]:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=140).print(table)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({"machine": machine(), **facts, "rows": list(rows)}, indent=2) + "\n", encoding="utf-8"
    )
    print(f"written to {path}")
