"""A tiny BLIP for `--sample`: random weights, and a tokenizer of the sample's words.

The image part of its text states is centred on the sample's images and as strong as the words, because random
networks otherwise see almost the same in every image. Pairs have cosines around 1/2: a gate that depends on such a
similarity is half open.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertTokenizer, BlipConfig, BlipForImageTextRetrieval, BlipImageProcessor

from mmkit.data.sample import pictures
from mmkit.data.types import Example
from mmkit.encoders.sampling import make_once, word_pieces
from mmkit.pretrained.networks import no_bars

SIDE, PATCH, WIDTH, PROJECTION, LENGTH = 48, 16, 128, 64, 512
SEEN = 128
"""The number of images, and the largest number of texts, on which features are centred."""


def write_tiny_blip(folder: Path, seed: int, examples: Sequence[Example]) -> Path:
    """The folder of the tiny BLIP, written once: beside the given folder of either part, so that both share it."""
    name = folder.name.replace("mmkit.blip_multimodal.v1", "mmkit.blip.v1")
    target = folder.with_name(name.replace("mmkit.blip_similarity.v1", "mmkit.blip.v1"))
    make_once(target, lambda made: _write(made, seed, examples))
    return target


def _write(folder: Path, seed: int, examples: Sequence[Example]) -> None:
    # like those of the Hub, it does not know [DEC] and [ENC], the network's last two
    tokenizer = BertTokenizer(vocab=word_pieces(examples), model_max_length=LENGTH)
    processor: Any = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    texts = list(dict.fromkeys(x.text for x in examples))[:SEEN] or [""]
    tokens: Any = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    pixels = processor(images=_drawn(seed), return_tensors="pt")["pixel_values"]
    with torch.random.fork_rng(devices=[]), no_bars(), torch.no_grad():
        torch.manual_seed(seed)
        model = BlipForImageTextRetrieval(_config(len(tokenizer))).eval()
        image = model.vision_model(pixels).last_hidden_state
        at = torch.arange(SEEN) % len(texts)
        inputs = {name: tokens[name][at] for name in ("input_ids", "attention_mask")}
        for layer in model.text_encoder.encoder.layer:
            _centre_seen(model, layer.crossattention.output.dense, inputs, image)
        sentences = model.text_encoder(**inputs).last_hidden_state[:, 0]
        for projection, states in ((model.vision_proj, image[:, 0]), (model.text_proj, sentences)):
            _centre(projection, projection(states))
            projection.bias.add_(1)  # in all dimensions of both, so that features lean to one side
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)


def _config(words: int) -> BlipConfig:
    shape = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_attention_heads": 4}
    text = {
        "num_hidden_layers": 2,
        "vocab_size": words + 2,
        "max_position_embeddings": LENGTH,
        "bos_token_id": words,
        "sep_token_id": 3,
        "initializer_range": 0.1,
    }
    vision = {"num_hidden_layers": 1, "image_size": SIDE, "patch_size": PATCH, "initializer_range": 0.1}
    return BlipConfig(
        text_config=shape | text,
        vision_config=shape | vision,
        image_text_hidden_size=PROJECTION,
        initializer_range=0.1,
    )


def _centre_seen(
    model: BlipForImageTextRetrieval, dense: nn.Linear, inputs: dict[str, Tensor], image: Tensor
) -> None:
    """Centre the image part that `dense` adds to texts."""
    made: list[Tensor] = []
    handle = dense.register_forward_hook(lambda module, args, output: made.append(output))
    model.text_encoder(**inputs, encoder_hidden_states=image)
    handle.remove()
    _centre(dense, made[0][inputs["attention_mask"].bool()])


def _centre(linear: nn.Linear, made: Tensor) -> None:
    """Give the output of a layer, here `[N, D]`, mean 0 and standard deviation 1."""
    scale = made.std(0).mean()
    linear.bias.sub_(made.mean(0)).div_(scale)
    linear.weight.div_(scale)


def _drawn(seed: int) -> list[Any]:
    """Photos of the kinds that samples show."""
    rng = Random(seed)
    return [pictures.photo(pictures.KINDS[i % len(pictures.KINDS)], rng) for i in range(SEEN)]
