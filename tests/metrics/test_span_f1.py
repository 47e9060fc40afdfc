"""Span F1 against seqeval, on random tag sequences and on real tweets."""

from __future__ import annotations

import math
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from mmkit.data.types import ORPHANS, Example, Prediction, Span
from mmkit.decoders.tagging import TagSet
from mmkit.metrics.span_f1 import SpanF1
from raising import raises

TYPES = ("PER", "LOC", "ORG", "OTHER")
TAGS = TagSet(TYPES, "bio")
Tags = list[str]


def read(tags: Tags):
    """Spans and notes of a tag sequence, as readers and taggers make them."""
    found = TAGS.chunks(np.array([[TAGS.ids[tag] for tag in tags]], dtype=np.int64).reshape(1, -1))
    spans = [Span(s, e, TYPES[t]) for s, e, t in zip(found.start, found.end, found.type, strict=True)]
    orphans = [[s.start, s.end] for s, o in zip(spans, found.orphan, strict=True) if o]
    return {"spans": tuple(spans), "notes": {ORPHANS: orphans} if orphans else {}}


def scored(gold: list[Tags], predicted: list[Tags], **options) -> dict[str, float]:
    examples = [Example.from_tokens(str(i), ["w"] * len(tags), **read(tags)) for i, tags in enumerate(gold)]
    metric = SpanF1(**options)
    half = len(gold) // 2
    for part in (slice(0, half), slice(half, None)):
        predictions = [Prediction(id=e.id, **read(tags)) for e, tags in zip(examples, predicted, strict=True)]
        metric.update(examples[part], predictions[part])
    return metric.compute()


def assert_equals_seqeval(gold: list[Tags], predicted: list[Tags], mode: str) -> None:
    figures = scored(gold, predicted, mode=mode)
    options = {"mode": "strict", "scheme": IOB2} if mode == "strict" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval's, where there is nothing to divide by
        for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            if math.isnan(figures[name]):  # seqeval says 0 where there is nothing to score
                assert not any(tag != "O" for tags in (*gold, *predicted) for tag in tags) or mode == "strict"
                continue
            assert figures[name] == pytest.approx(score(gold, predicted, **options), abs=1e-12)
            types = sorted(name.partition(".")[2] for name in figures if name.startswith("f1."))
            own = score(gold, predicted, average=None, **options)
            assert [figures[f"{name}.{t}"] for t in types] == pytest.approx(list(own), abs=1e-12)
        if not math.isnan(figures["f1"]):
            macro = f1_score(gold, predicted, average="macro", **options)
            assert figures["macro_f1"] == pytest.approx(macro, abs=1e-12)


rows = st.lists(
    st.tuples(st.sampled_from(TAGS.names[:7]), st.sampled_from(TAGS.names[:7])), min_size=1, max_size=8
)


@pytest.mark.parametrize("mode", ["lenient", "strict"])
@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(rows, min_size=1, max_size=4))
def test_equals_seqeval_on_random_tags(mode, batch):
    gold, predicted = ([[pair[side] for pair in row] for row in batch] for side in (0, 1))
    assert_equals_seqeval(gold, predicted, mode)


def conll_tags(path: Path) -> list[Tags]:
    """The tag column of each sentence."""
    blocks = path.read_text(encoding="utf-8").strip().split("\n\n")
    lines = [[line.split("\t") for line in b.splitlines() if not line.startswith("IMGID:")] for b in blocks]
    return [[columns[-1].strip() for columns in block if len(columns) > 1] for block in lines]


@pytest.fixture(scope="module")
def twitter2015(shared) -> list[Tags]:
    return conll_tags(shared / "data" / "twitter2015" / "test.txt")


@pytest.mark.real_data
@pytest.mark.parametrize("mode", ["lenient", "strict"])
def test_equals_seqeval_on_real_tweets_with_perturbed_predictions(twitter2015, mode):
    draw = random.Random(0)
    predicted = [
        [draw.choice(TAGS.names) if draw.random() < 0.1 else tag for tag in tags] for tags in twitter2015
    ]
    assert_equals_seqeval(twitter2015, predicted, mode)


@pytest.mark.real_data
def test_gold_counts_of_real_tweets(twitter2015):
    spans = [span for tags in twitter2015 for span in read(tags)["spans"]]
    counts = {t: sum(span.label == t for span in spans) for t in TYPES}
    assert counts == {"PER": 1873, "LOC": 1720, "ORG": 860, "OTHER": 754}
    strict = scored(twitter2015, twitter2015, mode="strict", per_type=False)
    assert strict == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "macro_f1": 1.0}


def test_nothing_to_count_is_zero():
    nothing = {**scored([["O"]], [["O"]]), **SpanF1(bootstrap=10).compute()}
    assert list(nothing) == ["precision", "recall", "f1", "macro_f1", "f1.low", "f1.high"]
    assert all(map(math.isnan, nothing.values()))
    assert scored([["O"]], [["B-PER"]])["f1"] == scored([["B-PER"]], [["O"]])["f1"] == 0.0


def test_a_span_predicted_twice_counts_once():
    span = Span(0, 1, "PER")
    metric = SpanF1(per_type=False)
    metric.update([Example.from_tokens("a", ["w"], spans=(span,))], [Prediction(id="a", spans=(span, span))])
    assert metric.compute()["precision"] == 1.0


def test_reset_forgets():
    metric = SpanF1()
    metric.update([Example.from_tokens("a", ["w"])], [Prediction(id="a", spans=(Span(0, 1, "PER"),))])
    metric.reset()
    assert "f1.PER" not in metric.compute()


def test_predictions_of_other_examples_are_refused():
    examples = [Example.from_tokens(id, ["w"]) for id in "ab"]
    with raises("predictions.order", match="1 of the predictions is for 'c', but the example is 'b'"):
        SpanF1().update(examples, [Prediction(id="a"), Prediction(id="c")])
    with raises("predictions.count", match="2 examples but 1"):
        SpanF1().update(examples, [Prediction(id="a")])


def test_negative_resamples_are_refused():
    with raises("part.setting", match="number of resamples, not -1"):
        SpanF1(bootstrap=-1)
