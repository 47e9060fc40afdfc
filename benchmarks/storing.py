"""Storing the features of photos with ResNet-50: bf16 and channels last, compared with float32 as PyTorch lays it out.

    python benchmarks/storing.py

All sides decode, resize and encode the same synthetic photos of 500 × 375, and write their features to an empty store.
They take turns, so that other work on the machine meets all of them; the best round of each counts. The accuracy of a
side is the norm of what it differs by from the first, compared with the norm of the features.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from common import report
from PIL import Image as Picture
from timm.models import save_for_hf
from torch import Tensor

from mmkit.batch import Features
from mmkit.data.types import Example, Image
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.store import prepare
from mmkit.encoders.timm_pooled import TimmEncoder
from mmkit.inference.devices import pick_device


class RowMajor(TimmEncoder):
    """An encoder that leaves images as they were read: one plane a channel."""

    def compute(self, items: Features) -> Features:
        return ItemEncoder.compute(self, items)


SIDES: dict[str, tuple[type[TimmEncoder], dict[str, Any]]] = {
    "float32, a plane a channel": (RowMajor, {}),
    "float32, channels last": (TimmEncoder, {}),
    "bf16, channels last": (TimmEncoder, {"feature_precision": "bf16"}),
}


def make_backbone(folder: Path, name: str, size: int) -> None:
    """An untrained network whose batch normalisation fits synthetic photos, as files that load like pretrained ones."""
    torch.manual_seed(0)
    overlay = {"input_size": (3, size, size)}
    network = timm.create_model(name, pretrained=False, pretrained_cfg_overlay=overlay)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain mean over what it sees
    with torch.no_grad():
        network.train()(0.3 * torch.randn(16, 3, size, size) + torch.randn(16, 3, 1, 1))
    save_for_hf(network, folder, safe_serialization=True)


def make_photos(folder: Path, count: int) -> list[Example]:
    noise = np.random.default_rng(0)
    examples = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        coarse = noise.integers(0, 256, (25, 33, 3), dtype=np.uint8)
        Picture.fromarray(coarse).resize((500, 375), Picture.Resampling.BICUBIC).save(path, quality=90)
        examples.append(Example.from_tokens(str(number), ["photo"], images=(Image(str(path)),)))
    return examples


def store(side: str, backbone: Path, examples: list[Example], device: torch.device) -> tuple[float, Tensor]:
    """Photos a second, and their features."""
    kind, settings = SIDES[side]
    encoder = kind(str(backbone), **settings)
    encoder.build()
    encoder.to(device).eval()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MMKIT_CACHE"] = cache
        began = time.perf_counter()
        prepare(encoder, examples)
        seconds = time.perf_counter() - began
        found = encoder(encoder.collate(examples, [{}] * len(examples)))["pooled"]
    return len(examples) / seconds, found.float().cpu()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", default="resnet50.tv_in1k")
    parser.add_argument("--size", type=int, default=224, help="side of the network's input in pixels")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    features: dict[str, Tensor] = {}
    with tempfile.TemporaryDirectory() as folder:
        backbone = Path(folder, "backbone")
        make_backbone(backbone, options.network, options.size)
        examples = make_photos(Path(folder), options.photos)
        for _ in range(options.rounds):
            for side in SIDES:
                rate, features[side] = store(side, backbone, examples, device)
                rates[side].append(rate)
    first = next(iter(SIDES))
    exact, base = features[first], max(rates[first])
    rows = [
        {
            "side": side,
            "photos a second": max(found),
            "ratio": max(found) / base,
            "apart": float((features[side] - exact).norm() / exact.norm()),
        }
        for side, found in rates.items()
    ]
    report("storing", rows, **vars(options) | {"device": str(device)})


if __name__ == "__main__":
    main()
