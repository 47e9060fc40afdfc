"""The smallest networks that today's parts take, in place of those of `--sample`: kept runs are to be small."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, BertTokenizer

from mmkit.data.types import Example
from mmkit.encoders import blip_sample, clip_sample
from mmkit.encoders.sampling import make_once, word_pieces
from mmkit.encoders.timm_backbone import TimmPictures
from mmkit.encoders.transformer import TransformerEncoder

Write = Callable[[Path, int, Sequence[Example]], None]


def shrink_stand_ins() -> None:
    """Let every encoder's `sample` write a network of a width of 16 to 32."""
    clip_sample.WIDTH = clip_sample.PROJECTION = 32
    clip_sample.VOCABULARY = 640
    blip_sample.WIDTH, blip_sample.PROJECTION, blip_sample.LENGTH = 32, 16, 128
    _replace(TransformerEncoder, _write_bert)
    _replace(TimmPictures, _write_resnet)


def rounded(file: Path) -> None:
    """Round the float32 weights of a safetensors file to 16 bits, so that the file packs to a third."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    tensors = {
        name: tensor.bfloat16().float() if tensor.dtype == torch.float32 else tensor
        for name, tensor in load_file(file).items()
    }
    save_file(tensors, file, metadata=metadata)


def _replace(part: Any, write: Write) -> None:
    def sample(cls: type, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        make_once(folder, lambda made: write(made, seed, examples))
        return {"name": str(folder), "revision": None}

    part.sample = classmethod(sample)


def _write_bert(folder: Path, seed: int, examples: Sequence[Example]) -> None:
    vocabulary = word_pieces(examples)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.15,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab=vocabulary, model_max_length=128).save_pretrained(folder)


def _write_resnet(folder: Path, seed: int, examples: Sequence[Example]) -> None:
    from mmkit.encoders import timm_backbone as made

    args = {"layers": [1, 1, 1, 1], "channels": [8, 12, 16, 24], "zero_init_last": False, "num_classes": 0}
    made._write_sample(folder, seed)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    made._write_config(folder, {**config, "model_args": args})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = timm.create_model(f"{made.FOLDER}{folder}", pretrained=False)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        with torch.no_grad():
            model.train()(made._drawn_pictures(seed, 64))
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
