"""Spans by characters: aligned to tokens by a stated policy, checked against all else that is said of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkit.data.alignment import Aligner, CharSpan, Words
from mmkit.data.jsonl import JsonlReader
from mmkit.data.records import example_from_json
from mmkit.data.tokenize import tokenize
from mmkit.data.types import Example, Relation, Span
from mmkit.errors import DataError
from raising import raises

TEXT = "Jordan's back in Chicago!"  # Jordan 's back in Chicago !
WORDS = st.sampled_from(["Jordan", "café", "🇩🇪", "👍🏽", "1️⃣", "e\u0301te\u0301", "東京", "a-b", "𝒳", "हिन्दी"])


def read(text: str = TEXT, policy: Any = "error", units: Any = "characters", **record: Any) -> Example:
    repairs: Counter[str] = Counter()
    example = example_from_json(
        {"id": "1", "text": text, **record}, "x:1", aligner=Aligner(policy, units, repairs)
    )
    read.repairs = dict(repairs)  # type: ignore[attr-defined]
    return example


def at(first: int, last: int, **more: Any) -> dict[str, Any]:
    return {"start_char": first, "end_char": last, "label": "PER", **more}


def test_spans_relations_and_a_mention_are_found_by_their_characters() -> None:
    jordan, chicago = at(0, 6, text="Jordan"), at(17, 24, label="LOC")
    example = read(
        spans=[jordan, chicago],
        relations=[{"head": jordan, "tail": chicago, "label": "in"}],
        mention={"text": "Jordan", "span": jordan},
    )
    assert example.tokens == ("Jordan", "'s", "back", "in", "Chicago", "!")
    person, place = Span(0, 1, "PER"), Span(4, 5, "LOC")
    assert example.spans == (person, place)
    assert example.relations == (Relation(person, place, "in"),)
    assert example.mention is not None and example.mention.span == person


def test_both_kinds_of_bounds_have_to_agree() -> None:
    tokens = list(tokenize(TEXT)[0])
    assert read(tokens=tokens, spans=[at(0, 6, start=0, end=1)]).spans == (Span(0, 1, "PER"),)
    with raises("offsets.disagree", match=r"`spans\[0\]` says tokens 0 to 2, but characters 0 to 6"):
        read(tokens=tokens, spans=[at(0, 6, start=0, end=2)])
    with raises("data.no-tokens"):
        read(spans=[at(0, 6, start=0, end=1)])


def test_spans_by_tokens_stand_beside_spans_by_characters() -> None:
    by_tokens = {"start": 4, "end": 5, "label": "LOC"}
    found = read(tokens=list(tokenize(TEXT)[0]), spans=[at(0, 6), by_tokens])
    assert found.spans == (Span(0, 1, "PER"), Span(4, 5, "LOC"))


@pytest.mark.parametrize(
    ("policy", "spans", "tokens", "repair"),
    [
        ("expand", (Span(0, 1, "PER"),), 6, "span widened to whole tokens"),
        ("drop", (), 6, "span left out: it begins or ends inside a token"),
        ("split", (Span(0, 1, "PER"),), 7, "token cut in two at the bounds of a span"),
    ],
)
def test_a_span_inside_a_token_is_treated_as_the_policy_says(
    policy: Any, spans: tuple[Span, ...], tokens: int, repair: str
) -> None:
    found = read(policy=policy, spans=[at(0, 3)])
    assert (found.spans, len(found.tokens), read.repairs) == (spans, tokens, {repair: 1})  # type: ignore[attr-defined]
    with raises(
        "offsets.misaligned", match=r"`spans\[0\]`, characters 0 to 3 \('Jor'\), ends inside the token"
    ):
        read(spans=[at(0, 3)])


def test_a_relation_goes_with_a_span_that_is_left_out() -> None:
    found = read(policy="drop", relations=[{"head": at(0, 3), "tail": at(17, 24), "label": "in"}])
    assert found.relations == ()
    assert read.repairs["relation left out with a span that is"] == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("span", "code", "message"),
    [
        (at(6, 0), "offsets.reversed", "characters 6 to 0, ends before it begins"),
        (at(3, 3), "offsets.empty", "is empty"),
        (at(8, 9), "offsets.empty", "covers only white space"),
        (at(17, 99), "offsets.outside", "is outside the text, which has 25 characters"),
        (
            at(0, 6, text="back"),
            "offsets.words",
            "these words begin at character 9",
        ),
        (at(0, 5), "offsets.misaligned", "if the ends in this file are those of the last character, add 1"),
        (
            at(1, 7),
            "offsets.misaligned",
            "if the offsets in this file count from 1, subtract 1 from starts and ends",
        ),
        (
            at(18, 26),
            "offsets.outside",
            "if the offsets in this file count from 1, subtract 1 from starts and ends",
        ),
        (at(1, 6), "offsets.misaligned", "if the starts in this file count from 1, subtract 1 from them"),
    ],
)
def test_a_wrong_span_is_one_message(span: dict[str, Any], code: str, message: str) -> None:
    with raises(code) as caught:
        read(spans=[at(17, 24), span])
    assert str(caught.value).startswith("x:1: `spans[1]`") and message in str(caught.value)
    assert read(policy="drop", spans=[at(17, 24), span]).spans == (Span(4, 5, "PER"),)
    assert sum(read.repairs.values()) == 1  # type: ignore[attr-defined]


def test_white_space_at_the_ends_is_left_out_and_counted() -> None:
    assert read(spans=[at(16, 24)]).spans == (Span(4, 5, "PER"),)
    assert read.repairs == {"span with white space at its ends, which is left out of it": 1}  # type: ignore[attr-defined]


@pytest.mark.parametrize("missing", ["start_char", "end_char", "label"])
def test_a_span_needs_both_bounds_and_a_label(missing: str) -> None:
    span = {k: v for k, v in at(0, 6).items() if k != missing}
    with raises("json.missing-field", match=missing):
        read(spans=[span])


@given(st.lists(WORDS, min_size=1, max_size=6), st.data())
def test_offsets_in_any_units_find_the_same_tokens(words: list[str], data: st.DataObject) -> None:
    text = " ".join(words)
    tokens, offsets = tokenize(text)
    start = data.draw(st.integers(0, len(tokens) - 1))
    end = data.draw(st.integers(start + 1, len(tokens)))
    first, last = offsets[start][0], offsets[end - 1][1]
    units: Any
    for units, size in (
        ("characters", len),
        ("utf-16", lambda t: len(t.encode("utf-16-le")) // 2),
        ("bytes", lambda t: len(t.encode())),
    ):
        told = CharSpan(size(text[:first]), size(text[:last]), "X", words=text[first:last])
        assert Aligner(offsets=units).align(text, [told])[1] == [Span(start, end, "X")]


@pytest.mark.parametrize("units", ["utf-16", "bytes"])
def test_offsets_in_other_units_are_recognised(units: str) -> None:
    text = "🎉 Jordan is back"
    size = (lambda t: len(t.encode("utf-16-le")) // 2) if units == "utf-16" else (lambda t: len(t.encode()))
    for policy in ("error", "expand", "drop", "split"):
        with raises("offsets.units") as caught:
            read(text, policy, spans=[at(size("🎉 "), size("🎉 Jordan"))])
        assert f'offsets = "{units}"' in caught.value.hint
    assert read(text, units=units, spans=[at(size("🎉 "), size("🎉 Jordan"))]).spans == (Span(1, 2, "PER"),)
    with raises("offsets.units"):
        read(text, units=units, spans=[at(2, 8)])


def test_a_token_without_characters_is_nowhere() -> None:
    words = Words(("", "a", ""), ((0, 0), (0, 1), (1, 1)))
    assert Aligner().align("a", [CharSpan(0, 1, "X")], words=words) == (words, [Span(1, 2, "X")])


def test_the_reader_takes_the_policy_and_counts(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(
        '{"text": "Jordan-based", "spans": [{"start_char": 0, "end_char": 6, "label": "PER"}]}\n' * 2
    )
    reader = JsonlReader(str(tmp_path), "x.jsonl", misaligned="expand")
    assert [x.spans for x in reader] == [(Span(0, 1, "PER"),)] * 2
    assert reader.repairs == {"span widened to whole tokens": 2}
    with pytest.raises(DataError, match=r"x\.jsonl:1"):
        list(JsonlReader(str(tmp_path), "x.jsonl"))
