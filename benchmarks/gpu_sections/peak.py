"""How near a time is to what the device can do: beside its best product and copy here, and beside its data sheet."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from common import GPU_MEMORY, seconds_each
from torch.utils.flop_counter import FlopCounterMode

from gpu_sections.context import Context

DATA_SHEETS = {
    "NVIDIA H200": (989e12, 4.8e12),
    "NVIDIA H100 80GB HBM3": (989e12, 3.35e12),
    "NVIDIA A100-SXM4-80GB": (312e12, 2.039e12),
    "NVIDIA A100-SXM4-40GB": (312e12, 1.555e12),
}
"""By a GPU's name: operations a second of dense bf16 products, and bytes a second of its memory (NVIDIA)."""


class Best(NamedTuple):
    """What a device does at best."""

    flops: float
    """Floating-point operations a second, of products in bf16."""
    moved: float
    """Bytes a second, read and written, of a copy."""
    sheet: tuple[float, float] | None = None
    """The same by its data sheet; None where that is not known."""

    def seconds(self, flops: float, moved: float) -> float:
        """What so many operations take at least, and after them so many bytes."""
        return flops / self.flops + moved / self.moved

    def shares(self, seconds: float, flops: float = 0.0, moved: float = 0.0) -> dict[str, float]:
        """Rates, in percent of the best ones and of the data sheet's."""
        found: dict[str, float] = {}
        for at, (done, unit, best, what) in enumerate(
            ((flops, "TFLOP/s", self.flops, "bf16 product"), (moved, "TB/s", self.moved, "copy"))
        ):
            if not done:
                continue
            rate = done / seconds
            found |= {unit: rate / 1e12, f"% of the best {what}": 100 * rate / best}
            if self.sheet is not None:
                found[f"% of the data sheet's {unit}"] = 100 * rate / self.sheet[at]
        return found


def best_of(context: Context) -> Best:
    """Measured now, with the device as warm and as shared as it is."""
    device = context.device
    whole = context.cuda and not context.tiny  # such products take a CPU minutes
    side, size = (8192, 1 << 30) if whole else (256, 1 << 20)
    matrix = torch.randn(side, side, device=device).bfloat16()
    here, there = (torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2))
    sheet = DATA_SHEETS.get(torch.cuda.get_device_name(device)) if context.cuda else None
    product, copy = (
        statistics.median(seconds_each(call, 5, device))
        for call in (lambda: matrix @ matrix, lambda: there.copy_(here))
    )
    return Best(2 * side**3 / product, 2 * size / copy, sheet)


def rounds_of(
    context: Context, call: Callable[[], object], rounds: int = 7, each: int = 10
) -> dict[str, float]:
    """Seconds of a call: the median of rounds of `each` calls, and the fastest and the slowest round."""
    if context.tiny:
        rounds, each = 2, 1

    def some() -> None:
        for _ in range(each):
            call()

    seconds = [s / each for s in seconds_each(some, rounds, context.device, warm_up=1)]
    return {"seconds": statistics.median(seconds), "least": min(seconds), "most": max(seconds)}


def counted(call: Callable[[], object]) -> int:
    """Floating-point operations of products, convolutions and attention in a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def measured(
    context: Context,
    best: Best,
    call: Callable[[], object],
    flops: float = 0.0,
    moved: float = 0.0,
    **of: Any,
) -> dict[str, Any]:
    """A row: the times of a call, its share of what the device can do, and the GPU memory that it takes."""
    before = GPU_MEMORY.begin(context.device)
    times = rounds_of(context, call, **of)
    memory = (GPU_MEMORY.peak(context.device) - before) / 2**30
    milliseconds = {f"ms, {name}" if name != "seconds" else "ms": 1e3 * s for name, s in times.items()}
    return {**milliseconds, **best.shares(times["seconds"], flops, moved), "own GPU memory, GiB": memory}
