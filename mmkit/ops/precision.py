"""How exactly float32 is multiplied: in full, in TF32, or not at all (bf16)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

Precision = Literal["fp32", "tf32", "bf16"]
"""What a model computes in. `fp32`: float32 in full. `tf32`: float32 whose products and convolutions round what
they read to TF32's 10 bits (NVIDIA GPUs). `bf16`: autocast to bfloat16."""


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Compute in full float32 on `device`, where its rounding is part of a result: no autocast, no TF32."""
    with torch.autocast(device.type, enabled=False), float32_products("ieee"):
        yield


@contextmanager
def computing(device: torch.device, precision: str) -> Iterator[None]:
    """Compute in a `Precision` on `device`. For a forward pass: autocast does not belong around a backward pass.

    What the user has set in PyTorch holds again afterwards; inside, a recipe's precision decides alone.
    """
    if precision == "bf16":
        with torch.autocast(device.type, dtype=torch.bfloat16):
            yield
    else:
        with products_of(precision):
            yield


@contextmanager
def products_of(precision: str) -> Iterator[None]:
    """How products of float32 are made in a `Precision`. For a backward pass too; bf16 leaves them as they are."""
    if precision == "bf16":
        yield
    else:
        with float32_products("tf32" if precision == "tf32" else "ieee"):
            yield


@contextmanager
def float32_products(how: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Make products and convolutions of float32 in full (`ieee`) or in TF32, on every device.

    This is process-wide, as PyTorch's settings are. They form a tree: what is not set somewhere follows what
    stands above it, so the uppermost is set first, and below it only what does not follow. Put back in reverse
    order, each place is as it was before, and what followed still does.
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
