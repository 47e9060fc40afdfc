"""Tiny folders of pretrained models, made from configurations: one in each library's format."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer, ResNetConfig, ResNetModel

from mmkit.data.types import Example
from mmkit.encoders.timm_pooled import TimmEncoder

WORDS = [
    "look",
    "at",
    "mara",
    "okafor",
    "in",
    "lisbon",
    "the",
    "river",
    "is",
    "long",
    "jordan",
    "scored",
    "points",
]

Copy = Callable[..., Path]


def save_bert(folder: Path, words: list[str]) -> Path:
    """A BERT of one layer with a vocabulary of these words, and its tokenizer."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("models") / "bert", WORDS)


@pytest.fixture(scope="session")
def bert_bin(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with weights that `torch.save` wrote."""
    folder = shutil.copytree(bert, tmp_path_factory.mktemp("models") / "bert_bin")
    torch.save(BertModel.from_pretrained(bert).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture(scope="session")
def resnet_timm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "resnet_timm"
    TimmEncoder.sample(folder, 1, [Example.from_tokens("1", WORDS)])
    return folder


@pytest.fixture(scope="session")
def resnet_hf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "resnet_hf"
    ResNetModel(ResNetConfig(hidden_sizes=[8, 8], depths=[1, 1], embedding_size=8)).save_pretrained(folder)
    return folder


@pytest.fixture
def copied(tmp_path: Path) -> Copy:
    """Copies a folder, without some files and with the contents of others replaced."""

    def copy(folder: Path, without: tuple[str, ...] = (), **contents: bytes) -> Path:
        made = shutil.copytree(folder, tmp_path / folder.name, dirs_exist_ok=True)
        for name in without:
            (made / name).unlink()
        for name, content in contents.items():
            (made / name.replace("__", ".")).write_bytes(content)
        return made

    return copy


@pytest.fixture
def kept(bert: Path, bert_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a folder into the Hub client's cache under a name, as a download leaves it; returns where its files lie."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name: str, folder: Path | None = None) -> Path:
        commit = "0123456789abcdef0123456789abcdef01234567"
        at = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (at / "refs").mkdir(parents=True)
        (at / "refs" / "main").write_text(commit)
        source = folder or (bert_bin if name.endswith("bin") else bert)
        return shutil.copytree(source, at / "snapshots" / commit)

    return put
