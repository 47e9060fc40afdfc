"""The precision of products of float32: full, TF32, or bf16 instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

Precision = Literal["fp32", "tf32", "bf16"]
"""The precision of a model. `fp32`: full float32. `tf32`: float32 whose products and convolutions round their inputs
to TF32's 10 bits (NVIDIA GPUs). `bf16`: autocast to bfloat16."""


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Compute in full float32 on `device`: no autocast, no TF32. For results that are stored or ranked."""
    with torch.autocast(device.type, enabled=False), float32_products("ieee"):
        yield


@contextmanager
def only(device: torch.device, precision: Precision) -> Iterator[None]:
    """Compute in `precision` on `device`, whatever the precision around it. For a forward pass.

    Without an NVIDIA GPU, TF32 is full float32.
    """
    possible = "fp32" if precision == "tf32" and device.type != "cuda" else precision
    with torch.autocast(device.type, enabled=False), computing(device, possible):
        yield


@contextmanager
def computing(device: torch.device, precision: str) -> Iterator[None]:
    """Compute in a `Precision` on `device`. For a forward pass: autocast does not belong around a backward pass.

    Afterwards PyTorch's settings are as before; inside, only the recipe's precision counts.
    """
    if precision == "bf16":
        with torch.autocast(device.type, dtype=torch.bfloat16):
            yield
    else:
        with products_of(precision):
            yield


@contextmanager
def products_of(precision: str) -> Iterator[None]:
    """Set how products of float32 are made in a `Precision`. Also for a backward pass; bf16 changes nothing."""
    if precision == "bf16":
        yield
    else:
        with float32_products("tf32" if precision == "tf32" else "ieee"):
            yield


@contextmanager
def float32_products(how: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Compute products and convolutions of float32 in full (`ieee`) or in TF32, on every device.

    This is process-wide, like PyTorch's settings. These form a tree: a setting without a value follows the one above
    it. So the topmost is set first, and below it only those that do not follow. They are restored in reverse order,
    so that each is as before, and those that followed still do.
    """
    backends: Any = torch.backends  # whose types do not name them all
    changed: list[tuple[Any, str]] = []
    try:
        places = (
            backends,
            backends.cudnn,
            backends.cuda.matmul,
            backends.cudnn.conv,
            backends.cudnn.rnn,
            backends.mkldnn.matmul,
            backends.mkldnn.conv,
        )
        for place in places:
            before = place.fp32_precision
            if before != how:
                place.fp32_precision = how
                changed.append((place, before))
        yield
    finally:
        for place, before in reversed(changed):
            place.fp32_precision = before
