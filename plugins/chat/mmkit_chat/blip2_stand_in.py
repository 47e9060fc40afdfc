"""A tiny random BLIP-2 for `--sample`: it needs no network, and its answers have no meaning."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessor,
    OPTConfig,
)

from mmkit.pretrained.networks import no_bars
from mmkit_chat.stand_ins import SMALL, SPREAD, small_tokenizer, special_tokens


def save_blip2(folder: Path, seed: int, texts: Iterable[str]) -> None:
    """Save a random BLIP-2 with OPT. Its vocabulary is learned from `texts`."""
    tokenizer = small_tokenizer(texts)
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    processor = Blip2Processor(images, tokenizer, num_query_tokens=4)
    layers = {**SMALL, "intermediate_size": 64, "initializer_range": SPREAD}
    opt = {
        **SMALL,
        "ffn_dim": 64,
        "word_embed_proj_dim": 32,
        "max_position_embeddings": 256,
        "init_std": SPREAD,
    }
    config = Blip2Config(
        vision_config={**layers, "image_size": 32, "patch_size": 16},
        qformer_config={**layers, "vocab_size": len(tokenizer)},
        text_config=OPTConfig(vocab_size=len(tokenizer), **opt, **special_tokens(tokenizer)),
        num_query_tokens=4,
        image_token_index=tokenizer.get_vocab()[processor.image_token.content],
        initializer_range=SPREAD,
    )
    with torch.random.fork_rng(devices=[]), no_bars():
        torch.manual_seed(seed)
        Blip2ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
