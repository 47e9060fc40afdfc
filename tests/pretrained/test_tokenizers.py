"""Tokenizers: none that knows nothing, none of another model, and words that one does not know are told of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModel,
    BertTokenizer,
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
)

from mmkit.checking.words import unknown_words
from mmkit.data.types import Example
from mmkit.encoders.clip_text import ClipTextEncoder
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.errors import PartError
from mmkit.pretrained.networks import load_tokenizer, no_bars
from mmkit.pretrained.vocabulary import check_vocabulary
from raising import raises

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 66,
}
KINDS: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "roberta": SIZES,
    "albert": {**SIZES, "embedding_size": 16},
    "xlm-roberta": SIZES,
    "deberta-v2": {**SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
    "distilbert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16, "max_position_embeddings": 66},
    "electra": {**SIZES, "embedding_size": 16},
    "modernbert": {**SIZES, **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0)}
    | {"cls_token_id": 2, "sep_token_id": 3},
    "mpnet": SIZES,
    "camembert": SIZES,
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 66, "bos_token_id": 2, "eos_token_id": 3},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2},
}  # fmt: skip


def save(kind: str, folder: Path, entries: int = 60) -> Path:
    """`config.json` and `model.safetensors` alone, as one who fetches "the model" by hand has them."""
    torch.manual_seed(0)
    with no_bars():
        AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=entries, **KINDS[kind])).save_pretrained(
            folder
        )
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_a_tokenizer_is_refused(kind: str, tmp_path: Path) -> None:
    encoder = TransformerEncoder(str(save(kind, tmp_path / kind)), pooling="mean")
    with raises(
        "encoder.no-tokenizer", match="the folder has no tokenizer: none of its files has a vocabulary"
    ):
        encoder.build()
    (error,) = encoder.problems()
    assert error.code == "encoder.no-tokenizer" and "tokenizer.json" in error.hint


def test_nor_is_one_made_of_its_settings_alone(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "bert")
    (folder / "tokenizer.json").unlink()
    assert (folder / "tokenizer_config.json").exists()
    with raises("encoder.no-tokenizer"):
        load_tokenizer(str(folder))
    (folder / "tokenizer.json").symlink_to(tmp_path / "nowhere")
    with raises("encoder.no-tokenizer"):
        load_tokenizer(str(folder))


def test_a_clip_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    sizes = {k: v for k, v in SIZES.items() if k != "max_position_embeddings"}
    text, vision = {**sizes, "vocab_size": 60}, {**sizes, "image_size": 32, "patch_size": 16}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    with no_bars():
        CLIPModel(config).save_pretrained(tmp_path)
    encoder = ClipTextEncoder(str(tmp_path), "sentence")
    with raises("encoder.no-tokenizer"):
        encoder.build()
    assert [error.code for error in encoder.problems()] == ["encoder.no-tokenizer"]


def test_vocab_json_needs_its_merges(tmp_path: Path) -> None:
    folder = save("roberta", tmp_path / "roberta")
    (folder / "vocab.json").write_text(json.dumps({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4}))
    with raises("encoder.no-tokenizer", match=r"vocab\.json, but no merges\.txt"):
        TransformerEncoder(str(folder)).build()


def test_a_sentencepiece_model_says_which_package_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save("deberta-v2", tmp_path / "deberta")
    (folder / "spm.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>" + bytes(50))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with raises("encoder.no-tokenizer", match=r"spm\.model.*\n.*pip install sentencepiece"):
        TransformerEncoder(str(folder)).build()


def test_a_tokenizer_that_is_not_fast_is_refused_and_no_such_model_is_suggested(tmp_path: Path) -> None:
    folder = save("roberta", tmp_path / "bertweet")
    (folder / "vocab.txt").write_text("look 9\nat 8\n")
    (folder / "bpe.codes").write_text("l o 3\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertweetTokenizer"}')
    with raises("encoder.slow-tokenizer", match="BertweetTokenizer"):
        TransformerEncoder(str(folder)).build()
    with pytest.raises(PartError) as caught:
        TransformerEncoder("vinai/bertweet-bas").build()
    assert "bertweet-base" not in caught.value.hint


# Another model's


def word_pieces(folder: Path, entries: int) -> None:
    BertTokenizer(vocab={f"word{i}": i for i in range(entries - 5)} | marks(entries)).save_pretrained(folder)


def marks(entries: int) -> dict[str, int]:
    names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    return {name: entries - 5 + i for i, name in enumerate(names)}


def byte_pairs(folder: Path, entries: int) -> None:
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}
    vocabulary |= {f"w{i}": i for i in range(5, entries)}
    RobertaTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "rows", "write", "entries", "said"),
    [
        ("bert", 60, byte_pairs, 90, "has 90 entries, but the network has embeddings for 60"),
        ("bert", 60, word_pieces, 20, "knows 20 entries, but the network was trained with 60"),
        ("roberta", 60, word_pieces, 58, "is not that of the network"),
        ("albert", 1001, word_pieces, 800, "is not that of the network"),
        ("distilbert", 60, byte_pairs, 7, "almost every word would be unknown"),
    ],
)
def test_a_tokenizer_of_another_model_is_refused(
    kind: str, rows: int, write: Any, entries: int, said: str, tmp_path: Path
) -> None:
    folder = save(kind, tmp_path / kind, rows)
    write(folder, entries)
    with raises("encoder.wrong-tokenizer", match=said):
        TransformerEncoder(str(folder)).build()


@pytest.mark.parametrize(
    ("kind", "rows", "write", "entries"),
    [
        ("bert", 64, word_pieces, 60),  # embeddings rounded up
        ("bert", 95, byte_pairs, 90),  # as in multilingual E5: a BERT with XLM-R's vocabulary
        ("electra", 60, word_pieces, 60),
        ("distilbert", 60, word_pieces, 60),
        ("xlm-roberta", 60, byte_pairs, 60),
    ],
)
def test_a_tokenizer_that_may_be_the_models_own_is_taken(
    kind: str, rows: int, write: Any, entries: int, tmp_path: Path
) -> None:
    folder = save(kind, tmp_path / kind, rows)
    write(folder, entries)
    encoder = TransformerEncoder(str(folder))
    encoder.build()
    assert len(encoder.tokenizer) == entries


def test_tokens_added_beyond_the_embeddings_are_told_of(bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer, config = load_tokenizer(str(bert)), AutoConfig.from_pretrained(bert)
    tokenizer.add_tokens(["one", "two"])
    check_vocabulary(tokenizer, config, "x")
    assert "'x' has 2 added tokens that the network was not trained with" in caplog.text


def test_a_vocabulary_that_is_cut_off_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save("bert", tmp_path / "bert", 3000)
    word_pieces(folder, 2000)
    TransformerEncoder(str(folder)).build()
    assert "knows 2000 entries of the 3000 that the network was trained with" in caplog.text


def test_numbers_beyond_the_embeddings_are_refused(bert: Path) -> None:
    tokenizer, config = load_tokenizer(str(bert)), AutoConfig.from_pretrained(bert)
    holes = json.loads(tokenizer.backend_tokenizer.to_str())
    holes["model"]["vocab"]["river"] = 900
    backend = Tokenizer.from_str(json.dumps(holes))
    with raises("encoder.wrong-tokenizer", match="numbers beyond the network's 18 embeddings"):
        check_vocabulary(PreTrainedTokenizerFast(tokenizer_object=backend), config, "x")


# Unknown words


def test_many_unknown_words_are_counted_and_shown(bert: Path) -> None:
    encoder = TransformerEncoder(str(bert))
    encoder.build()
    known = [Example.from_tokens(str(i), ["look", "at", "mara", "okafor"]) for i in range(9)]
    assert list(unknown_words({"model.encoders.text": encoder}, known)) == []
    foreign = [Example.from_tokens("x", ["Река", "Река", "длинная", "is", "long"])]
    (said,) = unknown_words({"model.encoders.text": encoder}, foreign)
    assert said.startswith(
        "[model.encoders.text] its tokenizer does not know 60% of train's words (3 of 5; 'Река', "
    )
    few = [*known, Example.from_tokens("x", ["Река"])]
    assert list(unknown_words({"model.encoders.text": encoder}, few)) == []


def test_of_a_tokenizer_of_bytes_and_an_encoder_of_entities_nothing_is_said(bert: Path) -> None:
    class Reads(TransformerEncoder):
        pass

    encoder = TransformerEncoder(str(bert), source="description")
    encoder.build()
    assert list(unknown_words({"text": encoder}, [Example.from_tokens("x", ["Река"])])) == []
    backend = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, merges=[])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel()
    encoder = TransformerEncoder(str(bert))
    encoder.build()
    encoder.tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert list(unknown_words({"text": encoder}, [Example.from_tokens("x", ["Река"])])) == []
