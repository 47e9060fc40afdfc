"""`drop_lone_spaces`: in languages without spaces, a word is read without the space that SentencePiece puts there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from mmkit.checking.words import spaces_alone
from mmkit.data.types import Example, TextView
from mmkit.encoders.subwords import Encoded, Subwords
from mmkit.encoders.transformer import TransformerEncoder
from raising import raises

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁the", "▁从", "雪", "岳", "读", "书", "river", "s"]


def make_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.Unigram([(piece, -1.0) for piece in PIECES], unk_id=3, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        pad_token_id=1,
    )
    BertModel(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def encoded(words: list[str], drop: bool, limit: int | None = None, second: tuple[str, ...] = ()) -> Encoded:
    view = TextView(tuple(words), tuple(range(len(words))), second=second)
    return Subwords(make_tokenizer(), limit, drop_lone_spaces=drop).encode([view])[0]


def pieces(of: Encoded) -> list[str]:
    return [PIECES[i] for i in of.ids]


def test_a_space_is_dropped_where_its_word_has_other_subwords() -> None:
    words = ["雪", "从", "岳", "读书"]
    kept = encoded(words, drop=False)
    assert pieces(kept) == ["<s>", "▁", "雪", "▁从", "▁", "岳", "▁", "读", "书", "</s>"]
    assert [PIECES[kept.ids[i]] for i in kept.first] == ["▁", "▁从", "▁", "▁"]
    found = encoded(words, drop=True)
    assert pieces(found) == ["<s>", "雪", "▁从", "岳", "读", "书", "</s>"]
    assert [PIECES[found.ids[i]] for i in found.first] == ["雪", "▁从", "岳", "读"]
    assert found.words.tolist() == [-1, 0, 1, 2, 3, 3, -1]


def test_a_word_that_is_only_a_space_keeps_it() -> None:
    found = encoded(["雪", "▁", "岳"], drop=True)
    assert [PIECES[found.ids[i]] for i in found.first] == ["雪", "▁", "岳"]


def test_the_second_text_is_read_without_them_too() -> None:
    found = encoded(["雪"], drop=True, second=("岳", "读"))
    assert pieces(found) == ["<s>", "雪", "</s>", "</s>", "岳", "读", "</s>"]
    assert found.words.tolist() == [-1, 0, -1, -1, -1, -1, -1]


def test_only_what_is_left_is_counted_for_the_limit() -> None:
    words = ["雪", "岳", "读", "书"]
    assert encoded(words, drop=False, limit=6).cut == 2
    found = encoded(words, drop=True, limit=6)
    assert found.cut == 0 and pieces(found) == ["<s>", *words, "</s>"]
    assert np.array_equal(found.first, [1, 2, 3, 4])


def test_words_with_spaces_between_them_are_read_as_before() -> None:
    words = ["the", "the"]
    assert (
        pieces(encoded(words, drop=True))
        == pieces(encoded(words, drop=False))
        == ["<s>", "▁the", "▁the", "</s>"]
    )


def test_the_encoder_reads_what_is_left(model: Path) -> None:
    example = Example.from_tokens("1", ["雪", "岳"])
    views = [{"text": TextView.of(example)}]
    widths = []
    for drop in (False, True):
        encoder = TransformerEncoder(str(model), drop_lone_spaces=drop)
        encoder.build()
        widths.append(encoder.eval()(encoder.collate([example], views))["tokens"].shape[1])
    assert widths == [6, 4]


def test_a_recipe_that_should_have_it_is_told(model: Path) -> None:
    examples = [Example.from_tokens("1", ["雪", "岳", "the"])]
    encoder = TransformerEncoder(str(model))
    encoder.build()
    (said,) = spaces_alone({"model.encoders.text": encoder}, examples)
    assert said.startswith("[model.encoders.text]") and "67%" in said and "drop_lone_spaces = true" in said
    assert not list(spaces_alone({"text": encoder}, [Example.from_tokens("1", ["the", "the", "雪"])]))
    able = TransformerEncoder(str(model), drop_lone_spaces=True)
    able.build()
    assert not list(spaces_alone({"text": able}, examples))


def test_an_encoder_of_plain_texts_has_no_such_setting(model: Path) -> None:
    with raises("encoder.lone-spaces"):
        TransformerEncoder(str(model), source="description", drop_lone_spaces=True)
