"""A context behind a sentence: what the views hold, and that only the context is cut."""

from __future__ import annotations

import string
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer, PreTrainedTokenizerFast, XLMRobertaTokenizer

from mmkit.data.types import Example, Relation, Span, TextView
from mmkit.encoders.subwords import Subwords
from mmkit_more.classifier import ContextClassifier
from mmkit_more.tagger import ContextTagger
from mmkit_more.views import behind
from raising import raises

NOTE = "more.text_context"
SENTENCE = "Jordan scores in Paris"


def example_of(context: Any = None, text: str = SENTENCE) -> Example:
    notes = {} if context is None else {NOTE: context}
    pair = Relation(
        Span(3, 4, "tail"), Span(0, 1, "head"), "r"
    )  # the head of the pair comes later in the text
    relations = (pair,) if len(text.split()) > 3 else ()
    return Example.from_tokens("1", text.split(), relations=relations, notes=notes)


def test_a_context_stands_behind_the_sentence_and_is_no_token() -> None:
    views = ContextTagger().views(example_of("Paris  is\na city"))
    assert views["plain"] == TextView.of(example_of())
    words = ("Jordan", "scores", "in", "Paris", "<EOS>", "Paris", "is", "a", "city")
    assert views["text"] == TextView(words, (0, 1, 2, 3, -1, -1, -1, -1, -1))


def test_markers_stand_in_both_views_and_a_context_has_none() -> None:
    views = ContextClassifier().views(example_of("Jordan in Paris"))
    assert " ".join(views["plain"].words) == "[T] Jordan [/T] scores in [H] Paris [/H]"
    assert " ".join(views["text"].words) == "[T] Jordan [/T] scores in [H] Paris [/H] <EOS> Jordan in Paris"
    assert views["text"].markers == views["plain"].markers == (0, 5)  # in text order


@pytest.mark.parametrize("context", [None, "", " \n"])
@pytest.mark.parametrize("decoder", [ContextTagger(), ContextClassifier()])
def test_without_a_context_both_views_are_the_sentence(decoder: Any, context: str | None) -> None:
    views = decoder.views(example_of(context))
    assert views["text"] == views["plain"]


def test_the_baseline_looks_at_no_note() -> None:
    for decoder in (ContextTagger(context=None), ContextClassifier(context=None)):
        views = decoder.views(example_of("a context"))
        assert views["text"] == views["plain"]
        decoder.check([example_of()])


def test_the_separator_can_be_chosen_or_left_out() -> None:
    view = TextView.of(example_of())
    assert behind(view, "c", "</s> </s>").words[4:] == ("</s>", "</s>", "c")
    assert behind(view, "c", "").words[4:] == ("c",)


@pytest.mark.parametrize("note", [["Paris"], 3, None])
def test_a_note_that_is_no_text_names_the_example(note: Any) -> None:
    example = replace(example_of(), notes={NOTE: note})
    with raises("encoder.wrong-note", match=r"1: the note 'more\.text_context'"):
        ContextTagger().views(example)


@pytest.mark.parametrize("make", [ContextTagger, ContextClassifier])
def test_training_without_any_context_names_the_annotator(make: Any) -> None:
    without, some = example_of(), example_of("c")
    make().check([without, some])
    make().check([])
    with raises(
        "more.no-context", match=r"2 training examples has .*more\.text_context(.|\n)*text_retrieval\.v1"
    ):
        make().check([without, without])
    with raises("more.no-context", match=r"add the annotator more\.image_retrieval\.v1"):
        make(context="more.image_context").check([some])
    with raises("more.no-context", match=r"mine\.note(.|\n)*add what writes it"):
        make(context="mine.note").check([some])


# Cutting

CHARACTERS = [*string.ascii_letters, *"<>[]/"]


def wordpiece() -> PreTrainedTokenizerFast:
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *CHARACTERS,
        *("##" + c for c in CHARACTERS),
        "the",
    ]
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=False)


def unigram() -> PreTrainedTokenizerFast:
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces = [*((c, -3.0) for c in CHARACTERS), ("▁the", -1.0), ("EOS", -1.0), ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=[*special, *pieces])


words = st.lists(st.sampled_from(["the", "Paris", "q", "abcde", "\u200b", "<EOS>"]), max_size=12)


@pytest.fixture(scope="module", params=[wordpiece, unigram], ids=["wordpiece", "unigram"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    tokenizer = request.param()
    tokenizer.add_tokens(list(ContextClassifier().special_tokens), special_tokens=True)
    return tokenizer


@given(sentence=words, context=words, limit=st.integers(3, 60))
@settings(deadline=None, max_examples=150, derandomize=True)
def test_the_context_is_cut_and_never_the_sentence(
    tokenizer: PreTrainedTokenizerFast, sentence: list[str], context: list[str], limit: int
) -> None:
    example = Example.from_tokens("1", sentence, notes={NOTE: " ".join(context)})
    compare(tokenizer, limit, ContextTagger().views(example))


@given(
    sentence=words.filter(len),
    context=words,
    limit=st.integers(3, 60),
    head=st.floats(0, 1),
    tail=st.floats(0, 1),
)
@settings(deadline=None, max_examples=150, derandomize=True)
def test_nor_are_markers_cut(
    tokenizer: PreTrainedTokenizerFast,
    sentence: list[str],
    context: list[str],
    limit: int,
    head: float,
    tail: float,
) -> None:
    starts = [round(at * (len(sentence) - 1)) for at in (head, tail)]
    pair = Relation(*(Span(at, at + 1, "x") for at in starts), "r")
    example = Example.from_tokens("1", sentence, relations=(pair,), notes={NOTE: " ".join(context)})
    compare(tokenizer, limit, ContextClassifier().views(example))


def compare(tokenizer: PreTrainedTokenizerFast, limit: int, views: dict[str, TextView]) -> None:
    """Up to the last special token the sentence is encoded as it is alone, and the context fills what is left."""
    text, plain = Subwords(tokenizer, limit).encode([views["text"], views["plain"]])
    whole = Subwords(tokenizer, None).encode([views["text"]])[0]
    end = len(plain.ids) - 1
    assert np.array_equal(text.ids[:end], plain.ids[:end])
    assert np.array_equal(text.words[:end], plain.words[:end])
    assert (text.words[end:] == -1).all()
    assert np.array_equal(text.first, plain.first)
    assert np.array_equal(text.markers, plain.markers)
    assert len(text.ids) == min(limit, len(whole.ids))
    assert np.array_equal(text.ids[:-1], whole.ids[: len(text.ids) - 1])
