"""Noun phrases: with and without a part-of-speech tagger."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification, BertTokenizer

from mmkit_hvpnet.phrases import PosTagger, stop_word_phrases, tagged_phrases
from raising import raises


def phrases(text: str) -> list[str]:
    return stop_word_phrases(text.split())


def test_runs_between_function_words_are_phrases() -> None:
    text = "RT @user : The Empire State Building is in New York http://t.co/x #Sunset !"
    assert phrases(text) == ["Empire State Building", "New York", "Sunset"]


def test_phrases_come_once_whatever_their_case() -> None:
    assert phrases("Paris and PARIS , then London") == ["PARIS", "London"]


@pytest.mark.parametrize("text", ["", "is it ?", "@a @b", "12 : 30 !", "https://t.co/abc", "’"])
def test_nothing_to_look_for(text: str) -> None:
    assert phrases(text) == []


@pytest.mark.parametrize(
    "tags", ["DET ADJ ADJ NOUN VERB PROPN PROPN ADV ADJ", "DT JJ JJR NNS VBD NNP NNP RB JJ"]
)
def test_adjectives_and_nouns_are_phrases(tags: str) -> None:
    tokens = ["the", "big", "red", "dogs", "saw", "Michael", "Jordan", "very", "clearly"]
    assert tagged_phrases(tokens, tags.split()) == ["big red dogs", "Michael Jordan"]


def test_a_user_name_is_no_phrase_though_it_be_tagged_as_a_noun() -> None:
    assert tagged_phrases(["@mike", "rocks"], ["PROPN", "NOUN"]) == ["rocks"]


def save_tagger(folder: Path, labels: list[str]) -> str:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "##s", "run"]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=6,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    BertForTokenClassification(config).save_pretrained(folder)
    vocabulary = {w: i for i, w in enumerate(words)}
    BertTokenizer(vocab=vocabulary, model_max_length=6).save_pretrained(folder)
    return str(folder)


def test_a_tagger_tags_every_token_and_those_beyond_its_reach_as_other(tmp_path: Path) -> None:
    tagger = PosTagger(save_tagger(tmp_path, ["NOUN", "VERB"]))
    with torch.no_grad():
        tagger.model.classifier.weight.zero_()
        tagger.model.classifier.bias.copy_(torch.tensor([1.0, 0.0]))
    assert tagger(["dogs", "run"]) == ["NOUN", "NOUN"]
    assert tagger(["dogs", "dogs", "run", "run"]) == ["NOUN", "NOUN", "X", "X"]


def test_a_model_that_tags_something_else_is_refused(tmp_path: Path) -> None:
    with raises("hvpnet.no-nouns", match="B-PER, O"):
        PosTagger(save_tagger(tmp_path, ["B-PER", "O"]))
