"""Golden files: what the authors' networks compute, with weights that are regenerated from a salt.

The files lie in `$MMKIT_GOLDEN`, or beside the project; tests on them skip where they are missing.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

GOLDEN = Path(os.environ.get("MMKIT_GOLDEN", Path(__file__).resolve().parents[3] / "shared" / "golden"))
CLOSE = {"atol": 1e-4, "rtol": 0.0}


def golden_files(name: str) -> list[object]:
    """The file of each salt as a test's parameter."""
    files = sorted(GOLDEN.glob(f"{name}_[0-9]*.safetensors"))
    missing = pytest.param(None, marks=pytest.mark.skip(reason="the golden files are not beside the project"))
    return [pytest.param(file, id=file.stem) for file in files] or [missing]


def salt_of(file: Path) -> int:
    return int(re.findall(r"_(\d+)$", file.stem)[0])


def authors_state(name: str, salt: int) -> dict[str, Tensor]:
    """The authors' state dict with the weights of a salt."""
    shapes = json.loads((GOLDEN / f"{name}_state_dict.json").read_text())
    return {tensor: reference_tensor(tensor, shape, salt) for tensor, shape in shapes.items()}


def reference_tensor(name: str, shape: list[int], salt: int) -> Tensor:
    """As the golden files' own `reference_weights.py` draws it: a stream seeded by the tensor's name."""
    x = np.random.RandomState((zlib.crc32(name.encode()) + salt) % 2**32).standard_normal(shape)
    x = x.astype(np.float32)
    if name.endswith("running_var"):
        x = 1 + 0.1 * np.abs(x)
    elif name.endswith("running_mean"):
        x = 0.1 * x
    elif len(shape) == 1 and name.endswith("weight"):
        x = 1 + 0.05 * x
    elif len(shape) >= 2:
        x = x / np.sqrt(int(np.prod(shape[1:])))
    else:
        x = 0.02 * x
    return torch.from_numpy(np.asarray(x, dtype=np.float32))
