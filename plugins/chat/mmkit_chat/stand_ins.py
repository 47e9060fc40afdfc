"""Tiny random models for `--sample`: they need no network, and their answers have no meaning."""

from __future__ import annotations

import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from mmkit.pretrained.networks import no_bars

PAD, BEGIN, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }} {% endfor %}assistant:"
)

IMAGE = "<image>"

VISION_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %} {% endfor %}{% endfor %}assistant:"
)

SPREAD = 0.3
"""Standard deviation of the initial weights. With the usual 0.02, such a small network always gives the same answer."""

SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_causal_lm(folder: Path, seed: int, texts: Iterable[str]) -> None:
    """Save a random language model with a chat template. Its vocabulary is learned from `texts`."""
    tokenizer = small_tokenizer(texts)
    tokenizer.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(
        **SMALL,
        vocab_size=len(tokenizer),
        intermediate_size=64,
        max_position_embeddings=1024,
        initializer_range=SPREAD,
        **special_tokens(tokenizer),
    )
    with torch.random.fork_rng(devices=[]), no_bars():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_vision_lm(folder: Path, seed: int, texts: Iterable[str]) -> None:
    """Save a random LLaVA with a chat template: a CLIP that looks at 32 pixels, and a Llama."""
    tokenizer = small_tokenizer(texts)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=VISION_TEMPLATE,
        image_token=IMAGE,
        num_additional_image_tokens=1,
    )
    layers = {**SMALL, "intermediate_size": 64, "initializer_range": SPREAD}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**layers, image_size=32, patch_size=16, projection_dim=32),
        text_config=LlamaConfig(
            **layers, vocab_size=len(tokenizer), max_position_embeddings=1024, **special_tokens(tokenizer)
        ),
        image_token_index=tokenizer.get_vocab()[IMAGE],
        vision_feature_layer=-1,
    )
    with torch.random.fork_rng(devices=[]), no_bars():
        torch.manual_seed(seed)
        LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def special_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}


def small_tokenizer(texts: Iterable[str], size: int = 400) -> PreTrainedTokenizerFast:
    """A tokenizer of byte pairs, learned from `texts`. All ASCII characters are in its alphabet."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = [PAD, BEGIN, END, UNKNOWN]
    alphabet = [*string.ascii_letters, *string.digits, *string.punctuation]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BEGIN, eos_token=END, unk_token=UNKNOWN
    )
