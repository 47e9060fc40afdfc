"""What the device does at best: a matrix product, a copy, small launches. Other sections' rows are read beside it."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from common import seconds_each
from torch import Tensor

from gpu_sections.context import Context


def run(context: Context) -> None:
    """Products in bf16, TF32 and float32, memory copies on and to the device, and launches of a small kernel."""
    device = context.device
    whole = context.cuda and not context.tiny  # such products take a CPU minutes
    side, cells = (8192, 1 << 30) if whole else (128, 1 << 16)
    repeats = 3 if context.tiny else 10

    def median(call: Callable[[], object]) -> float:
        return statistics.median(seconds_each(call, repeats, device))

    def product(what: str, a: Tensor) -> None:
        seconds = median(lambda: a @ a)
        context.row(what=f"product, {what}", side=side, **{"TFLOP/s": 2 * side**3 / seconds / 1e12})

    matrix = torch.randn(side, side, device=device)
    product("bf16", matrix.bfloat16())
    if context.cuda:
        before = torch.backends.cuda.matmul.fp32_precision
        for precision, what in (("tf32", "TF32"), ("ieee", "float32")):
            torch.backends.cuda.matmul.fp32_precision = precision
            product(what, matrix)
        torch.backends.cuda.matmul.fp32_precision = before
    else:
        product("float32", matrix)

    here, there = (torch.empty(cells, dtype=torch.uint8, device=device) for _ in range(2))
    seconds = median(lambda: there.copy_(here))
    context.row(what="copy on the device", **{"GB/s read and written": 2 * cells / seconds / 1e9})
    host = torch.empty(cells // 4, dtype=torch.uint8, pin_memory=context.cuda)
    for what, source in (("pinned", host), ("pageable", torch.empty(cells // 4, dtype=torch.uint8))):
        seconds = median(lambda source=source: here[: cells // 4].copy_(source, non_blocking=True))
        context.row(what=f"copy to the device, {what}", **{"GB/s": cells / 4 / seconds / 1e9})

    small = torch.zeros(8, device=device)

    def launches() -> None:
        for _ in range(100):
            small.add_(1)

    context.row(what="small kernels, one after the other", **{"µs each": 1e4 * median(launches)})
