"""Pictures a second through ResNet-50, CLIP and BLIP with random weights, from pixels that are on the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from gpu_sections.context import Context
from gpu_sections.peak import best_of, counted, measured
from gpu_sections.updates import precisions
from mmkit.encoders.blip_multimodal import BlipMultimodalEncoder
from mmkit.encoders.clip_image import ClipImageEncoder
from mmkit.encoders.encoding import batch_for
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.timm_pooled import TimmEncoder

SIZE = 32
"""Pictures that are encoded together on a CPU; on a GPU there are more (`batch_for`)."""
TOKENS = 24
"""Of BLIP's texts."""
ALONE, ON_THE_DEVICE, APART = 1e-4, 1e-3, {"tf32": 0.01, "bf16": 0.1}
"""What features may be off, of their norm: in a batch, on a GPU, and in other precisions."""


def run(context: Context) -> None:
    """For each network: features are first seen to be those of each picture alone, and the CPU's."""
    best = best_of(context)
    size = 2 if context.tiny else batch_for(SIZE, context.device)
    makers: dict[str, Callable[[Path, bool], ItemEncoder]] = {
        "ResNet-50": resnet,
        "CLIP ViT-B/32": clip,
        "BLIP, photo and text": blip,
    }
    for name, make in makers.items():
        folder = context.folder / name.replace("/", "-")
        folder.mkdir()
        torch.manual_seed(0)
        encoder = make(folder, context.tiny).eval()
        few = items(encoder, 3)
        ours = features(encoder, few)
        alone = torch.cat([features(encoder, {k: v[i : i + 1] for k, v in few.items()}) for i in range(3)])
        context.check(f"{name}: a batch beside each alone", apart(ours, alone), ALONE)
        encoder.to(context.device)
        count = max(2, size // 4) if isinstance(encoder, BlipMultimodalEncoder) else size  # 14 times the work
        given = {k: v.to(context.device) for k, v in items(encoder, count).items()}
        encoder.feature_precision = "fp32"
        flops = counted(lambda encoder=encoder, given=given: encoder.encode(given))
        for precision in precisions(context):
            encoder.feature_precision = precision  # type: ignore[assignment]
            limit = APART.get(precision, ON_THE_DEVICE)
            context.check(f"{name}, {precision}: beside the CPU", apart(features(encoder, few), ours), limit)
            row = measured(
                context,
                best,
                lambda encoder=encoder, given=given: encoder.encode(given),
                flops,
                rounds=5,
                each=1,
            )
            shape = {"batch": count, "side": given["pixels"].shape[-1]}
            rate = {"pictures/s": count / row["ms"] * 1e3}
            context.row(network=name, precision=precision, **shape, **row, **rate)


def resnet(folder: Path, tiny: bool) -> ItemEncoder:
    """As HVPNeT and MoRe take it."""
    from storing import make_backbone

    make_backbone(folder, "resnet18" if tiny else "resnet50.tv_in1k", 32 if tiny else 224)
    encoder = TimmEncoder(str(folder))
    encoder.build()
    return encoder


def clip(folder: Path, tiny: bool) -> ItemEncoder:
    """As DWE takes it: openai/clip-vit-base-patch32's shape."""
    small: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    side = 32 if tiny else 224
    config = transformers.CLIPVisionConfig(**(small if tiny else {}), image_size=side, patch_size=32)
    config.save_pretrained(folder)
    crop = {"height": side, "width": side}
    transformers.CLIPImageProcessor(size={"shortest_edge": side}, crop_size=crop).save_pretrained(folder)
    encoder = ClipImageEncoder(str(folder))
    encoder.build(saved=folder)
    return encoder


def blip(folder: Path, tiny: bool) -> ItemEncoder:
    """As TESGA takes it: Salesforce/blip-itm-base-coco's shape."""
    from hvpnet_training import made_up_vocabulary

    words = made_up_vocabulary(300 if tiny else 30_522)
    small: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    side = 32 if tiny else 384
    config = transformers.BlipConfig(
        text_config={**(small if tiny else {}), "vocab_size": len(words) + 2},
        vision_config={**(small if tiny else {}), "image_size": side},
    )
    config.save_pretrained(folder)
    transformers.BertTokenizer(vocab={word: at for at, word in enumerate(words)}).save_pretrained(folder)
    transformers.BlipImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    encoder = BlipMultimodalEncoder(str(folder), max_length=TOKENS)
    encoder.build(saved=folder)
    return encoder


def items(encoder: ItemEncoder, count: int) -> dict[str, Tensor]:
    """Random pixels of the network's size, and for pairs texts of `TOKENS` tokens."""
    draw = torch.Generator().manual_seed(1)
    blank: Any = encoder.source.load(encoder.source.blank())
    shape = getattr(blank, "pixels", blank).shape
    found = {"pixels": torch.randn(count, *shape, generator=draw)}
    if isinstance(encoder, BlipMultimodalEncoder):
        config: Any = encoder.backbone.config.text_config
        ids = torch.randint(6, config.vocab_size - 2, (count, TOKENS), generator=draw)
        found |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return found


def features(encoder: ItemEncoder, given: dict[str, Tensor]) -> Tensor:
    """The main feature, on the CPU."""
    made = encoder.encode(given)
    return made["tokens" if "tokens" in made else "pooled"].float().cpu()


def apart(one: Tensor, other: Tensor) -> float:
    """The norm of what features are off, of their norm."""
    return float((one - other).norm() / other.norm())
