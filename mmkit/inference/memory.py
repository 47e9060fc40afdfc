"""Free memory, used memory, and what to lower when there is not enough."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Iterator

import psutil
import torch

from mmkit.config.settings import TrainingSettings
from mmkit.errors import TrainingError


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a GPU, or on the host for any other device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def peak_memory(device: torch.device) -> dict[str, int]:
    """Peak bytes: of this process's resident memory, and of the GPU's allocations."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(device)
    return peak


@contextlib.contextmanager
def memory_advice(settings: TrainingSettings, training: bool = True) -> Iterator[None]:
    """Turn an out-of-memory error, in training or evaluation, into a user's error that says what to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        doing = f"{settings.eval_batch_size} examples at a time"
        hint = "lower training.eval_batch_size or training.feature_memory"
        if training:
            doing = f"{settings.batch_size} examples an update in {settings.accumulate} part(s)"
            hint += ", training.batch_size, or an encoder's max_length"
            parts = min(2 * settings.accumulate, settings.batch_size)
            if parts > settings.accumulate:
                hint = f"raise training.accumulate to {parts} (same update, less memory), or {hint}"
        raise TrainingError(
            f"out of memory with {doing}", hint=hint, code="training.out-of-memory"
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "can't allocate memory" in str(error) or "out of memory" in str(error)  # the CPU's allocator
