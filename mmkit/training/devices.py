"""Which device and which precision a run uses."""

from __future__ import annotations

import os
import re

import torch

from mmkit.errors import MMKitError


def use_device(device: str) -> None:
    """Make `device` ("auto", "cpu", "cuda", "cuda:N", "mps") the one accelerate picks. Raises if it is not there."""
    if device in ("auto", "cpu"):
        return
    if device == "mps" and torch.backends.mps.is_available():
        return
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if not match:
        raise MMKitError(
            f"no device is called {device!r}", where="--device", hint="use auto, cpu, cuda, cuda:N or mps"
        )
    index = int(match[1] or 0)
    if index >= torch.cuda.device_count():
        raise MMKitError(
            f"{device} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} GPU(s)",
            where="--device",
            hint="use --device cpu, or look at nvidia-smi and the installed torch build",
        )
    os.environ["ACCELERATE_TORCH_DEVICE"] = f"cuda:{index}"
    torch.cuda.set_device(index)


def pick_device(device: str) -> torch.device:
    """The torch device for a name as `use_device` takes it; auto prefers a GPU."""
    use_device(device)
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_precision(wanted: str, device: torch.device) -> str:
    """fp32 or bf16: what was asked for, or bf16 on a GPU that computes in it."""
    if wanted != "auto":
        return wanted
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
