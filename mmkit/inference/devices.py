"""The device and the precision of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, patch_environment
from torch import nn

from mmkit.errors import MMKitError, RecipeError
from mmkit.inference.joining import join_processes
from mmkit.ops.precision import Precision

if TYPE_CHECKING:
    from mmkit.model import Model


def make_accelerator(device: str) -> Accelerator:
    """An accelerate `Accelerator` for `device` (see `pick_device`) and for the processes that were started together.

    Raises `MMKitError` if the device is not there, or if this process has used accelerate on another one.
    """
    wanted = pick_device(device)
    join_processes(wanted)
    indexed = {"accelerate_torch_device": device} if ":" in device else {}
    try:
        with patch_environment(**indexed):
            accelerator = Accelerator(
                cpu=wanted.type == "cpu",  # explicitly, else torchrun is not noticed without a GPU
                kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
            )
    except ValueError as error:  # from cuda to cpu
        raise _taken(device) from error
    if accelerator.device.type != wanted.type:
        raise _taken(device)
    return accelerator


def end_processes() -> None:
    """End the group of processes of this one, if there is a group, when all of them are here.

    A command calls it at its end. If a process ended while another still communicated with it, the other would abort.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def pick_device(device: str) -> torch.device:
    """The torch device called "auto", "cpu", "cuda", "cuda:N" or "mps"; auto prefers a GPU.

    Raises `MMKitError` if it is not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if device == "cpu" or (device == "mps" and torch.backends.mps.is_available()):
        return torch.device(device)
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if not match:
        raise MMKitError(
            f"no device is called {device!r}",
            where="--device",
            hint="use auto, cpu, cuda, cuda:N or mps",
            code="device.unknown",
        )
    if int(match[1] or 0) >= torch.cuda.device_count():
        raise MMKitError(
            f"{device} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} GPU(s)",
            where="--device",
            hint="use --device cpu, or look at nvidia-smi and the installed torch build",
            code="device.absent",
        )
    if match[1]:
        torch.cuda.set_device(int(match[1]))
    return torch.device(device)


BF16_PAYS = 10_000_000
"""Weights that compute in every batch from which on bf16 is faster on a CPU (1.5 × there, 1.8 × with bert-base).

Smaller networks lose more time with conversions than they win, unless their layers are wide."""

WIDE = 384
"""Inputs and outputs from which on a layer is faster in bf16: 1.25 × with 32 rows, 1.4 × with 128 (256: 0.9, 1.2)."""


def pick_precision(wanted: str, device: torch.device, model: Model | None = None) -> Precision:
    """The precision of a model on `device`: the wanted one.

    `auto` is bf16 on a GPU that supports it, and on a CPU that computes in it (AVX-512 BF16, AMX) for a `model` of at
    least `BF16_PAYS` weights, or with most of its weights in layers at least `WIDE` wide on both sides. NVIDIA's GPUs
    have TF32 from compute capability 8.0 on. On other devices a model that was trained in it predicts in full
    float32, which TF32 approximates.
    """
    if wanted == "auto":
        if device.type == "cpu":
            return "bf16" if model is not None and bf16_pays(model) and cpu_computes_bf16() else "fp32"
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if wanted == "tf32" and not _has_tf32(device):
        return "fp32"
    return cast(Precision, wanted)


def check_precision(wanted: str, device: torch.device) -> None:
    """Raise `RecipeError` for training in TF32 on a device that does not have it."""
    if wanted == "tf32" and not _has_tf32(device):
        raise RecipeError(
            f'training.precision = "tf32" is not possible on {device}: only NVIDIA GPUs from compute capability '
            "8.0 on have TF32",
            hint='set training.precision = "fp32", or "auto" (bf16 where the device computes in it)',
            code="device.no-tf32",
        )


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_tf32_supported()


def cpu_computes_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 numbers; others would convert them to float32 and back.

    False where torch is too old to say.
    """
    able: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def bf16_pays(model: Model) -> bool:
    """Whether so many weights compute in every batch, or in so wide layers, that bf16 is faster on a CPU."""
    computing = weights_in_batches(model)
    weights = sum(p.numel() for p in computing)
    wide = sum(p.numel() for p in computing if p.dim() == 2 and min(p.shape) >= WIDE)
    return weights >= BF16_PAYS or 2 * wide > weights


def weights_in_batches(model: Model) -> list[nn.Parameter]:
    """The weights that compute in every batch: all but those of encoders whose outputs are stored."""
    stored = {id(p) for encoder in model.item_encoders().values() for p in encoder.parameters()}
    return [p for p in model.parameters() if id(p) not in stored]


def _taken(device: str) -> MMKitError:
    return MMKitError(
        f"this process has trained on another device than {device}",
        hint="train there in a new process",
        code="device.other",
    )
