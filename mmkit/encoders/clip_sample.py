"""A tiny CLIP for `--sample`: both networks with random weights, and a tokenizer trained on the sample's words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from mmkit.data.types import Example
from mmkit.encoders.pretrained import no_bars
from mmkit.encoders.sampling import make_once

SIDE, WIDTH, LENGTH = 48, 64, 77
MERGES = 2000
START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"


def write_tiny_clip(folder: Path, seed: int, examples: Sequence[Example]) -> Path:
    """Where the tiny CLIP is, written once: a folder beside those of the parts that share it."""
    parts = ("mmkit.clip_text.v1", "mmkit.clip_image.v1")
    name = next((folder.name.replace(p, "mmkit.clip.v1") for p in parts if p in folder.name), folder.name)
    target = folder.with_name(name)
    make_once(target, lambda made: _write(made, seed, [example.text for example in examples]))
    return target


def _write(folder: Path, seed: int, texts: Sequence[str]) -> None:
    tokenizer = _tokenizer(texts)
    tokenizer.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(folder)
    shape = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": WIDTH,
    }
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(
        text_config={**shape, **ids, "pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer)},
        vision_config={**shape, "image_size": SIDE, "patch_size": 8},
        projection_dim=WIDTH,
    )
    with torch.random.fork_rng(devices=[]), no_bars():
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)


def _tokenizer(texts: Sequence[str]) -> CLIPTokenizer:
    """CLIP's byte-level tokenizer: every byte, inside a word and at its end, and merges for frequent words."""
    trained = CLIPTokenizer().backend_tokenizer
    trainer = BpeTrainer(vocab_size=MERGES, end_of_word_suffix=WORD_END, show_progress=False)
    trained.train_from_iterator(texts, trainer)
    merges: Any = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(letter + WORD_END for letter in letters), *map("".join, merges), START, END]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocabulary, merges, model_max_length=LENGTH)
