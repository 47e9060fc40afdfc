"""The tagger that span detection helps: labels, targets, the conversion matrix, losses and predictions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmkit.batch import Batch, Features, States
from mmkit.data.types import Example, Span
from mmkit.decoders.subword_tags import CLS, PAD, SEP, X
from mmkit.decoders.tagging import TagSet
from mmkit.registry import build_part
from mmkit_umt.convert import TAGS, TYPES
from mmkit_umt.tagger import SPAN_TAGS, SpanAidedTagger, conversion, span_tags
from raising import raises
from tagging import EXAMPLES, PIECES, WIDTH, sentence, text_inputs, text_states


def built(examples: list[Example] = EXAMPLES, types: list[str] | None = None) -> SpanAidedTagger:
    torch.manual_seed(0)
    tagger = SpanAidedTagger(types=types, initializer_range=0.3)
    tagger.build({"tokens": WIDTH, "auxiliary": WIDTH}, tagger.fit(examples))
    return tagger.eval()


def states_of(inputs: Features, seed: int = 0) -> States:
    auxiliary = text_states(inputs, seed=seed + 100)["tokens"]
    return States({**text_states(inputs, seed=seed).tensors, "auxiliary": auxiliary})


def test_labels_are_the_authors_thirteen() -> None:
    labels = SpanAidedTagger(types=list(TYPES)).fit(EXAMPLES)
    assert labels == {"types": list(TYPES), "scheme": "bio", "subwords": "tagged", "tags": list(TAGS)}


def test_span_tags_of_the_main_tags_are_the_authors() -> None:
    assert span_tags(built(types=list(TYPES)).tags).tolist() == [0, 1, 2, 3, 2, 3, 2, 3, 2, 3, 4, 5, 6]


@given(st.integers(1, 9))
def test_the_matrix_gives_each_span_tag_to_its_main_tags_in_equal_parts(count: int) -> None:
    types = [f"T{i}" for i in range(count)]
    main = span_tags(TagSet(types, "bio", before=[PAD], after=[X, CLS, SEP]))
    matrix = conversion(main)
    assert matrix.shape == (len(SPAN_TAGS), 5 + 2 * count)
    torch.testing.assert_close(matrix.sum(1), torch.ones(len(SPAN_TAGS)))
    for tag, column in zip(main.tolist(), matrix.T, strict=True):
        expected = torch.zeros(len(SPAN_TAGS))
        expected[tag] = 1 / count if SPAN_TAGS[tag] in "BI" else 1
        torch.testing.assert_close(column, expected)


def test_targets_of_both_tasks() -> None:
    tagger = built(types=list(TYPES))
    targets = tagger.targets(EXAMPLES, {"text": text_inputs(PIECES)})
    assert [" ".join(TAGS[i] for i in row) for row in targets["tags"].tolist()] == [
        "[CLS] B-PER I-PER X X O B-LOC X [SEP]",
        "[CLS] O X B-ORG [SEP] [PAD] [PAD] [PAD] [PAD]",
        "[CLS] O [SEP] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD]",
    ]
    assert [" ".join(SPAN_TAGS[i] for i in row) for row in targets["span_tags"].tolist()] == [
        "[CLS] B I X X O B X [SEP]",
        "[CLS] O X B [SEP] [PAD] [PAD] [PAD] [PAD]",
        "[CLS] O [SEP] [PAD] [PAD] [PAD] [PAD] [PAD] [PAD]",
    ]


def test_targets_of_a_cut_sentence() -> None:
    tagger = built(types=list(TYPES))
    tags = tagger.targets(EXAMPLES[:1], {"text": text_inputs(PIECES[:1], limit=5)})["tags"]
    assert [TAGS[i] for i in tags[0]] == ["[CLS]", "B-PER", "I-PER", "X", "[SEP]"]


def test_the_losses_are_those_of_the_two_crfs() -> None:
    tagger, inputs = built(), text_inputs(PIECES)
    states, targets = states_of(inputs), tagger.targets(EXAMPLES, {"text": inputs})
    spans = tagger.span_linear(states["auxiliary"])
    emissions = (tagger.linear(states["tokens"]) + spans @ tagger.conversion) / 2
    expected: dict[str, list[torch.Tensor]] = {"nll": [], "span_nll": []}
    for b in range(3):
        n = int(inputs["attention_mask"][b].sum())
        mask = torch.ones(1, n, dtype=torch.bool)
        for name, crf, scores, tags in (
            ("nll", tagger.crf, emissions, targets["tags"]),
            ("span_nll", tagger.span_crf, spans, targets["span_tags"]),
        ):
            expected[name].append(-crf.log_likelihood(scores[b : b + 1, :n], tags[b : b + 1, :n], mask))
    losses = tagger.loss(states, targets)
    assert losses.keys() == expected.keys()
    for name, found in losses.items():
        torch.testing.assert_close(found, torch.cat(expected[name]).mean())


def test_the_main_loss_reaches_the_span_detector_too() -> None:
    tagger, inputs = built(), text_inputs(PIECES)
    targets = tagger.targets(EXAMPLES, {"text": inputs})
    tagger.loss(states_of(inputs), targets)["nll"].backward()
    assert tagger.span_linear.weight.grad is not None and tagger.span_linear.weight.grad.any()
    assert tagger.span_crf.transitions.grad is None


def test_it_learns_and_predicts_its_training_data() -> None:
    tagger, inputs = built().train(), text_inputs(PIECES)
    states, targets = states_of(inputs), tagger.targets(EXAMPLES, {"text": inputs})
    optimizer = torch.optim.Adam(tagger.parameters(), lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        sum(tagger.loss(states, targets).values()).backward()
        optimizer.step()
    predictions = tagger.eval().decode(states, Batch(tuple(EXAMPLES), {"text": inputs}))
    assert [p.spans for p in predictions] == [e.spans for e in EXAMPLES]
    assert all(0.5 < score <= 1 for p in predictions for score in p.span_scores)


def test_words_that_were_cut_off_are_outside() -> None:
    tagger = built()
    tagger.linear.bias.data[tagger.tags.ids["B-PER"]] = 90.0  # every word that has a state
    inputs = text_inputs([[1, 3, 1, 2], [1]], limit=4)
    examples = (EXAMPLES[0], EXAMPLES[2])
    first, second = tagger.decode(states_of(inputs), Batch(examples, {"text": inputs}))
    assert first.spans == (Span(0, 1, "PER"), Span(1, 2, "PER"))
    assert second.spans == (Span(0, 1, "PER"),)


@pytest.mark.parametrize("name", ["[PAD]", "X", "[CLS]", "[SEP]"])
def test_special_tags_at_a_word_are_outside(name: str) -> None:
    tagger, inputs = built(), text_inputs(PIECES)
    tagger.linear.bias.data[tagger.tags.ids[name]] = 90.0
    predictions = tagger.decode(states_of(inputs), Batch(tuple(EXAMPLES), {"text": inputs}))
    assert [p.spans for p in predictions] == [(), (), ()]


@pytest.mark.parametrize("pieces", [[[]], [[], [1, 1]], [[0, 1], [1, 0]]])
def test_empty_sentences_and_words_without_subwords(pieces: list[list[int]]) -> None:
    tagger, inputs = built(), text_inputs(pieces)
    examples = tuple(sentence(str(i), len(row)) for i, row in enumerate(pieces))
    states, targets = states_of(inputs), tagger.targets(examples, {"text": inputs})
    assert sum(tagger.loss(states, targets).values()).isfinite()
    predictions = tagger.decode(states, Batch(examples, {"text": inputs}))
    assert [p.id for p in predictions] == [e.id for e in examples]


def test_a_wrong_setting_is_an_error() -> None:
    with raises("part.refused", match="initializer_range"):
        build_part("decoders", "umt.span_aided_tagger.v1", {"initializer_range": 0})
