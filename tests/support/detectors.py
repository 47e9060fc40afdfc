"""Tiny random detectors and segmenters of the architectures that transformers has, and pictures for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from transformers import (
    DetrConfig,
    DetrForObjectDetection,
    DetrForSegmentation,
    DetrImageProcessor,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    MaskFormerImageProcessor,
    ResNetConfig,
    SwinConfig,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)

LABELS = {0: "dog", 1: "Person"}
NAMED = {"id2label": LABELS, "label2id": {name: i for i, name in LABELS.items()}}
DETR = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "num_queries": 6,
}


def resnet() -> ResNetConfig:
    stages = ["stage1", "stage2", "stage3", "stage4"]
    sizes = {"embedding_size": 8, "hidden_sizes": [8] * 4, "depths": [1] * 4}
    return ResNetConfig(**sizes, layer_type="basic", out_features=stages)


def swin() -> SwinConfig:
    stages = ["stage1", "stage2", "stage3", "stage4"]
    sizes = {"image_size": 32, "embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4, "window_size": 2}
    return SwinConfig(**sizes, out_features=stages)


def save_yolos(folder: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = YolosConfig(**sizes, **NAMED, image_size=[32, 32], patch_size=8, num_detection_tokens=6)
    processor = YolosImageProcessor(size={"height": 32, "width": 32}, do_pad=False)
    save(YolosForObjectDetection, config, processor, folder, seed=2, std=0.5)


def save_detr(folder: Path) -> None:
    config = DetrConfig(backbone_config=resnet(), **DETR, **NAMED)
    processor = DetrImageProcessor(size={"shortest_edge": 32, "longest_edge": 64})
    save(DetrForObjectDetection, config, processor, folder, seed=2, std=1.0)


def save_detr_segmenter(folder: Path) -> None:
    config = DetrConfig(backbone_config=resnet(), **DETR, **NAMED)
    processor = DetrImageProcessor(size={"shortest_edge": 32, "longest_edge": 64})
    save(DetrForSegmentation, config, processor, folder, seed=5, std=1.0)


def save_mask2former(folder: Path) -> None:
    widths = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32}
    forward = {"encoder_feedforward_dim": 16, "dim_feedforward": 16, "encoder_layers": 1, "decoder_layers": 2}
    config = Mask2FormerConfig(
        backbone_config=swin(), **widths, **forward, **NAMED, num_attention_heads=2, num_queries=6
    )
    processor = Mask2FormerImageProcessor(size={"height": 64, "width": 64}, num_labels=2)
    save(Mask2FormerForUniversalSegmentation, config, processor, folder, seed=2)


def save_maskformer(folder: Path) -> None:
    decoder = DetrConfig(backbone_config=resnet(), **DETR)
    widths = {"fpn_feature_size": 32, "mask_feature_size": 32}
    config = MaskFormerConfig(backbone_config=swin(), decoder_config=decoder, **widths, **NAMED)
    processor = MaskFormerImageProcessor(size={"height": 64, "width": 64}, num_labels=2)
    save(MaskFormerForInstanceSegmentation, config, processor, folder, seed=6)


def save(kind: Any, config: Any, processor: Any, folder: Path, seed: int, std: float | None = None) -> None:
    """Save a model with random weights and balanced classes; seeds are such that boxes differ."""
    torch.manual_seed(seed)
    model = kind(config)
    for parameter in model.parameters() if std else ():
        torch.nn.init.normal_(parameter, std=std)
    (head,) = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 3]
    seen: list[torch.Tensor] = []
    hook = head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        model.eval()(**processor(images=[blocks("probe")], return_tensors="pt"))
        logits = seen[-1].flatten(0, -2)
        head.weight /= logits.std()
        head.bias.copy_((head.bias - logits.mean(0)) / logits.std())
        head.bias[2] -= 1  # "no object"
    hook.remove()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


DETECTORS = [save_yolos, save_detr]
SEGMENTERS = [save_mask2former, save_maskformer, save_detr_segmenter]


def blocks(name: str, size: tuple[int, int] = (60, 40)) -> Pillow.Image:
    """A picture of coloured blocks; its name is its seed."""
    colours = np.random.default_rng(sum(map(ord, name))).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    return Pillow.fromarray(colours).resize(size, Pillow.Resampling.NEAREST)
