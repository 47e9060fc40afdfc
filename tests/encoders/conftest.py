"""Tiny encoders: a BERT, a CLIP and a BLIP made by `sample`, and a RoBERTa whose tokenizer knows some words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

from mmkit.data.types import Example
from mmkit.encoders.blip_sample import write_tiny_blip
from mmkit.encoders.clip_sample import write_tiny_clip
from mmkit.encoders.transformer import TransformerEncoder

SENTENCES = (
    "Jordan scored 30 points in Chicago",
    "Paris Hilton loves Paris in the spring",
    "the Amazon is a river , Amazon a shop",
    "unbelievably long words get cut",
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of stored features, which is this test's own."""
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    return [Example.from_tokens(str(i), text.split()) for i, text in enumerate(SENTENCES)]


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Path:
    folder = tmp_path_factory.mktemp("tiny-bert")
    TransformerEncoder.sample(folder, seed=1, examples=examples)
    return folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("sample") / "tiny-clip", seed=1, examples=examples)


@pytest.fixture(scope="session")
def tiny_blip(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Path:
    return write_tiny_blip(tmp_path_factory.mktemp("sample") / "tiny-blip", seed=1, examples=examples)


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-roberta")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer(add_prefix_space=False)
    trained.train_from_iterator(SENTENCES * 3, vocab_size=320, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    RobertaTokenizer.from_pretrained(folder, model_max_length=62).save_pretrained(folder)
    torch.manual_seed(2)
    RobertaModel(
        RobertaConfig(
            vocab_size=320,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=40,
            max_position_embeddings=64,
            type_vocab_size=1,
        )
    ).save_pretrained(folder)
    return folder
