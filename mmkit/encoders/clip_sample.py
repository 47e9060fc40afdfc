"""A tiny CLIP for `--sample`: both networks with random weights, and a tokenizer trained on the sample's words.

Its features distinguish texts and synthetic images: they are centred on those of the sample and of unit scale,
because random networks otherwise give almost the same for everything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import pre_tokenizers
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from mmkit.data.sample import pictures
from mmkit.data.types import Example
from mmkit.encoders.sampling import make_once
from mmkit.encoders.sources import texts_of
from mmkit.pretrained.networks import no_bars

SIDE, WIDTH, PROJECTION, LENGTH, VOCABULARY = 48, 128, 256, 77, 2000
START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
SEEN = 512
"""The largest number of texts, and the number of images, on which features are centred."""


def write_tiny_clip(folder: Path, seed: int, examples: Sequence[Example]) -> Path:
    """The folder of the tiny CLIP, written once: beside the given folder of either part, so that both share it."""
    name = folder.name.replace("mmkit.clip_text.v1", "mmkit.clip.v2")
    target = folder.with_name(name.replace("mmkit.clip_image.v1", "mmkit.clip.v2"))
    texts = [t for x in examples for source in ("mention", "mention_sentence") for t in texts_of(x, source)]
    make_once(target, lambda made: _write(made, seed, list(dict.fromkeys(texts))))
    return target


def _write(folder: Path, seed: int, texts: Sequence[str]) -> None:
    tokenizer, size = _tokenizer(texts), {"height": SIDE, "width": SIDE}
    processor: Any = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size)
    with torch.random.fork_rng(devices=[]), no_bars(), torch.no_grad():
        torch.manual_seed(seed)
        model = CLIPModel(_config(tokenizer)).eval()
        # words count more than their positions, so that similar texts have similar features
        model.text_model.embeddings.position_embedding.weight.mul_(0.1)
        if texts:
            tokens: Any = tokenizer(list(texts[:SEEN]), padding=True, truncation=True, return_tensors="pt")
            pooled = model.text_model(tokens["input_ids"]).pooler_output
            _centre(model.text_model.final_layer_norm, model.text_projection, pooled)
        pixels = processor(images=_drawn(seed), return_tensors="pt")["pixel_values"]
        pooled = model.vision_model(pixels).pooler_output
        _centre(model.vision_model.post_layernorm, model.visual_projection, pooled)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)


def _config(tokenizer: CLIPTokenizer) -> CLIPConfig:
    shape = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_attention_heads": 4,
        "projection_dim": PROJECTION,
    }
    text = {
        "num_hidden_layers": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": LENGTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {"num_hidden_layers": 1, "image_size": SIDE, "patch_size": 8}
    return CLIPConfig(text_config=shape | text, vision_config=shape | vision, projection_dim=PROJECTION)


def _centre(norm: nn.LayerNorm, projection: nn.Linear, pooled: Tensor) -> None:
    """Give features of these states, which `norm` made, mean 0 and standard deviation 1."""
    norm.bias.sub_(pooled.mean(0))
    projection.weight.div_(projection(pooled).std(0).mean())


def _drawn(seed: int) -> list[Any]:
    """Photos of every kind that a sample shows."""
    rng = Random(seed)
    return [pictures.photo(rng.choice(("PER", "LOC", "ORG", "OTHER")), rng) for _ in range(SEEN // 4)]


def _tokenizer(texts: Sequence[str]) -> CLIPTokenizer:
    """CLIP's byte-level tokenizer: every byte, inside a word and at its end, and merges for frequent words."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    alphabet = [*letters, *(letter + WORD_END for letter in letters)]
    trained = CLIPTokenizer().backend_tokenizer
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=alphabet,  # fixes their order, by which the trainer breaks ties
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    merges: Any = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    pieces = [*alphabet, *map("".join, merges), START, END]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocabulary, merges, model_max_length=LENGTH)
