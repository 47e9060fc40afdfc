"""Spans whose `start` and `end` could count tokens or characters: it is said, and a setting decides."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkit.data.jsonl import JsonlReader
from mmkit.data.types import Example, Span
from raising import raises

LETTERS = "I am in a b c d e f g h i j"


def read(path: Path, *records: dict[str, Any], **settings: Any) -> tuple[list[Example], dict[str, int]]:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    reader = JsonlReader(str(path.parent), path.name, **settings)
    return [x for x in reader if isinstance(x, Example)], dict(reader.repairs)


def record(start: int, end: int, text: str = LETTERS, **more: Any) -> dict[str, Any]:
    spans = [{"start": start, "end": end, "label": "LOC"}]
    return {"text": text, "tokens": text.split(), "spans": spans, **more}


def test_spans_that_fit_both_are_counted_with_an_example_of_both_readings(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    examples, repairs = read(file, record(8, 9), record(10, 11))
    assert [x.spans for x in examples] == [(Span(8, 9, "LOC"),), (Span(10, 11, "LOC"),)]
    ((said, count),) = repairs.items()
    assert count == 2
    assert f"({file}:1 names 'f', or 'a' by characters)" in said
    assert 'bounds = "tokens" or "characters"' in said


def test_a_single_span_that_fits_tokens_alone_settles_it(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", record(8, 9), record(6, 7), record(0, 2))[1] == {}  # 0 to 2 is "I "


def test_spans_that_are_the_same_by_either_reading_are_no_doubt(tmp_path: Path) -> None:
    assert read(tmp_path / "b.jsonl", record(0, 1), record(0, 1, "x yz"))[1] == {}


@pytest.mark.parametrize("bounds", ["tokens", "characters"])
def test_the_setting_decides_in_silence(bounds: str, tmp_path: Path) -> None:
    (x,), repairs = read(tmp_path / "a.jsonl", record(8, 9), bounds=bounds)
    assert repairs == {}
    assert x.spans == (Span(8, 9, "LOC") if bounds == "tokens" else Span(3, 4, "LOC"),)


def test_characters_are_taken_everywhere_in_a_record(tmp_path: Path) -> None:
    text = "Mara Okafor visits Lisbon"
    head, tail = {"start": 0, "end": 11, "label": "PER"}, {"start": 19, "end": 25, "label": "LOC"}
    told = {
        "text": text,
        "spans": [head, tail],
        "relations": [{"head": head, "tail": tail, "label": "in"}],
        "mention": {"text": "Lisbon", "span": tail},
    }
    (x,), _ = read(tmp_path / "a.jsonl", told, bounds="characters")
    mara, lisbon = Span(0, 2, "PER"), Span(3, 4, "LOC")
    assert x.spans == (mara, lisbon)
    assert (x.relations[0].head, x.relations[0].tail) == (mara, lisbon)
    assert x.mention is not None and x.mention.span == lisbon


def test_relations_and_mentions_are_in_doubt_too(tmp_path: Path) -> None:
    a, b = ({"start": at, "end": at + 1, "label": "X"} for at in (8, 10))
    _, repairs = read(
        tmp_path / "a.jsonl",
        {
            "text": LETTERS,
            "tokens": LETTERS.split(),
            "relations": [{"head": a, "tail": b, "label": "r"}],
            "mention": {"text": "f", "span": a},
        },
    )
    assert list(repairs.values()) == [3]


def test_without_tokens_the_setting_is_named(tmp_path: Path) -> None:
    told = record(8, 9)
    del told["tokens"]
    with raises("data.no-tokens", match='bounds = "characters" of mmkit.jsonl.v1'):
        read(tmp_path / "a.jsonl", told)


@given(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=8), st.data())
def test_characters_mean_the_words_that_they_cover(words: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    x = Example.from_tokens("a", words)
    told = record(x.offsets[first][0], x.offsets[last][1], x.text)
    with tempfile.TemporaryDirectory() as folder:
        (found,), repairs = read(Path(folder) / "a.jsonl", told, bounds="characters")
    assert found.spans == (Span(first, last + 1, "LOC"),) and repairs == {}
