"""Spans to tags and back, against seqeval's reading, and constraints against what encoding can produce."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from mmkit.data.types import Example, Span
from mmkit.decoders.tagging import PREFIXES, TagSet, bio_constraints, learn_types
from raising import raises

TYPES = ("PER", "LOC")
steady = settings(max_examples=150, deadline=None, derandomize=True)


def example(length: int, *spans: Span, id: str = "tweet-1") -> Example:
    return Example.from_tokens(id, [f"w{i}" for i in range(length)], spans=spans)


@st.composite
def tag_batches(draw, scheme: str):
    names = TagSet(TYPES, scheme).names
    row = st.lists(st.sampled_from(names), max_size=9)
    return draw(st.lists(row, min_size=1, max_size=4))


@st.composite
def disjoint_spans(draw):
    """A sentence's length and spans that do not overlap."""
    pieces = draw(st.lists(st.tuples(st.integers(1, 4), st.sampled_from((None, *TYPES))), max_size=6))
    ends = list(itertools.accumulate((n for n, _ in pieces), initial=0))
    spans = [Span(a, b, t) for a, b, (_, t) in zip(ends, ends[1:], pieces, strict=False) if t is not None]
    return ends[-1], spans


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
@steady
@given(st.data())
def test_chunks_are_seqevals_default_ones(scheme, data):
    batch = data.draw(tag_batches(scheme))
    tags = TagSet(TYPES, scheme)
    width = max(len(row) for row in batch)
    ids = np.full((len(batch), width), -1)
    for target, row in zip(ids, batch, strict=True):
        target[: len(row)] = [tags.ids[name] for name in row]
    found = tags.chunks(ids)
    for b, row in enumerate(batch):
        here = found.row == b
        chunks = [
            (TYPES[t], s, e - 1)
            for t, s, e in zip(found.type[here], found.start[here], found.end[here], strict=True)
        ]
        assert chunks == get_entities(row)
        assert found.orphan[here].tolist() == [row[s][0] in "IE" for _, s, _ in chunks]


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
@steady
@given(case=disjoint_spans())
def test_spans_survive_the_round_trip(scheme, case):
    length, spans = case
    tags = TagSet(TYPES, scheme, before=["[PAD]"], after=["X", "[CLS]", "[SEP]"])
    found = tags.chunks(tags.encode(example(length, *spans)).reshape(1, -1))
    assert [Span(s, e, TYPES[t]) for s, e, t in zip(found.start, found.end, found.type, strict=True)] == spans
    assert not found.orphan.any()


def test_bioes_tags():
    tags = TagSet(TYPES, "bioes")
    ids = tags.encode(example(6, Span(0, 1, "LOC"), Span(2, 4, "PER"), Span(4, 6, "PER")))
    assert [tags.names[i] for i in ids] == ["S-LOC", "O", "B-PER", "E-PER", "B-PER", "E-PER"]
    ids = tags.encode(example(4, Span(0, 4, "PER")))
    assert [tags.names[i] for i in ids] == ["B-PER", "I-PER", "I-PER", "E-PER"]


def test_further_tags_are_outside_and_end_a_span():
    tags = TagSet(["PER"], "bio", before=["[PAD]"], after=["X", "[CLS]", "[SEP]"])
    ids = [tags.ids[name] for name in ("[CLS]", "B-PER", "X", "I-PER", "[SEP]", "[PAD]")]
    found = tags.chunks(np.array([ids]))
    assert list(zip(found.start, found.end, found.orphan, strict=True)) == [(1, 2, False), (3, 4, True)]


def test_unknown_types_and_overlaps_name_the_example():
    tags = TagSet(TYPES, "bio")
    with raises(
        "task.unknown-span-type", match=r"tweet-1: the span type 'PERS' is unknown\n.*did you mean 'PER'"
    ):
        tags.encode(example(3, Span(0, 1, "PERS")))
    with raises("task.span-overlap", match=r"tweet-1: the span \[1, 3\)"):
        tags.encode(example(3, Span(0, 2, "PER"), Span(1, 3, "LOC")))


def test_types_are_learnt_in_order_of_name_or_as_given():
    data = [example(2, Span(0, 1, "PER")), example(2, Span(0, 1, "LOC"))]
    assert learn_types(data, None) == ["LOC", "PER"]
    assert learn_types(data, ["PER", "ORG", "LOC"]) == ["PER", "ORG", "LOC"]
    with raises("task.unknown-span-type", match="tweet-1: the span type 'LOC'"):
        learn_types(data, ["PER"])
    with raises("task.no-spans"):
        learn_types([example(2)], None)


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_constraints_allow_exactly_what_encoding_can_produce(scheme):
    tags = TagSet(TYPES, scheme)
    allowed, K = bio_constraints(tags.names, scheme), len(tags)
    assert allowed.shape == (K + 1, K + 1)
    produced = set()
    for spans in every_annotation(4):
        produced.add(tuple(tags.encode(example(4, *spans)).tolist()))
    permitted = {
        path
        for path in itertools.product(range(K), repeat=4)
        if all(allowed[i, j] for i, j in itertools.pairwise((K, *path, K)))
    }
    assert permitted == produced


def every_annotation(length: int, start: int = 0):
    """Every way to put disjoint spans into a sentence."""
    if start == length:
        yield []
        return
    for rest in every_annotation(length, start + 1):
        yield rest
    for end in range(start + 1, length + 1):
        for type_, rest in itertools.product(TYPES, every_annotation(length, end)):
            yield [Span(start, end, type_), *rest]


@pytest.mark.parametrize("tag", ["X", "E-PER", "PER", "B-"])
def test_constraints_refuse_tags_of_no_scheme(tag):
    with pytest.raises(ValueError, match="is not a tag of the scheme 'bio'"):
        bio_constraints(["O", tag], "bio")


def test_schemes_begin_with_what_every_span_needs():
    assert all(prefixes.startswith("BI") for prefixes in PREFIXES.values())
