"""What the results depend on beside the code: device, driver, versions, commit."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from common import machine

from gpu_sections.context import Context

PACKAGES = (
    "mmkit-core",
    "torch",
    "torchvision",
    "transformers",
    "timm",
    "accelerate",
    "triton",
    "numpy",
    "pytorch-crf",
)


def probe(context: Context) -> None:
    """Find the device and describe it; raises where it is not there."""
    import torch

    facts = machine()
    torch.zeros(1, device=context.device).add_(1).item()
    facts |= {"device": context.device_name, "gpu": None, "versions": versions(), **commit()}
    if context.cuda:
        properties = torch.cuda.get_device_properties(context.device)
        facts |= {
            "gpu": properties.name,
            "gpu memory, GiB": round(properties.total_memory / 2**30, 1),
            "multiprocessors": properties.multi_processor_count,
            "compute capability": f"{properties.major}.{properties.minor}",
            "bf16": torch.cuda.is_bf16_supported(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "driver": driver(),
        }
    facts["started"] = datetime.now(UTC).isoformat(timespec="seconds")
    context.fact(**facts)


def versions() -> dict[str, str | None]:
    """Installed versions of what matters; None for what is not installed."""
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def driver() -> str | None:
    """The NVIDIA driver's version."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return next(iter(_output(command).splitlines()), None)


def commit() -> dict[str, Any]:
    """The checkout's commit and whether files differ from it; `$MMKIT_COMMIT` where there is no repository."""
    here = ["git", "-C", str(Path(__file__).resolve().parent)]
    known = _output([*here, "rev-parse", "HEAD"]).strip()
    if not known:
        return {"commit": os.environ.get("MMKIT_COMMIT")}
    return {"commit": known, "changed files": len(_output([*here, "status", "--porcelain"]).splitlines())}


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
