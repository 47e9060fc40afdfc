"""Tiny random models instead of the annotators' pretrained ones, for `--sample`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)

from mmkit.encoders.sampling import make_once
from mmkit.pretrained.networks import no_bars

_TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
_SIZE = {"height": 32, "width": 32}


def save_detector(folder: Path, seed: int) -> None:
    """Save a YOLOS that sees persons in the middle of any image, unless the folder exists."""
    config = YolosConfig(
        **_TINY, **_named(["person"]), image_size=[32, 32], patch_size=8, num_detection_tokens=4
    )
    processor = YolosImageProcessor(size=_SIZE, do_pad=False)
    _save_once(folder, seed, lambda: YolosForObjectDetection(config), processor)


def save_classifier(folder: Path, seed: int, labels: Sequence[str]) -> None:
    """Save a ViT that classifies images into classes of these names, unless the folder exists."""
    config = ViTConfig(**_TINY, **_named(labels), image_size=32, patch_size=8)

    def network() -> ViTForImageClassification:
        model = ViTForImageClassification(config)
        for parameter in model.parameters():  # at their usual scale, all images would get the same class
            torch.nn.init.normal_(parameter, std=0.5)
        return model

    _save_once(folder, seed, network, ViTImageProcessor(size=_SIZE))


def _named(labels: Sequence[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}


def _save_once(folder: Path, seed: int, network: Callable[[], PreTrainedModel], processor: Any) -> None:
    def write(made: Path) -> None:
        with torch.random.fork_rng(devices=[]), no_bars():
            torch.manual_seed(seed)
            network().save_pretrained(made)
            processor.save_pretrained(made)

    make_once(folder, write)
