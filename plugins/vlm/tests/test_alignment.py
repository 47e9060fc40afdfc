"""Words of an answer → tokens: what occurs is found by a stated rule, and nothing else."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit.data.types import Example, Span
from mmkit_vlm.alignment import NOT_THERE, OVERLAPS, TOO_OFTEN, Aligner, words_at

SENTENCE = "RT Bill Cosby 's New York trip : New York , new York and NYC"


def find(example: Example, *words: str) -> tuple[list[tuple[int, int] | None], Counter[str]]:
    dropped: Counter[str] = Counter()
    aligner = Aligner(example, dropped)
    return [aligner.find(each) for each in words], dropped


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("Bill Cosby", (1, 3)),
        ("Bill  Cosby's", (1, 4)),
        ("BILL COSBY", (1, 3)),
        ("New York", (4, 6)),
        ("NewYork", (4, 6)),
        ("NYC", (14, 15)),
        ("NY", None),
        ("ill Cosby", None),
        ("Los Angeles", None),
        ("", None),
        ("  ", None),
    ],
)
def test_words_are_found_without_regard_to_white_space_and_then_to_case(
    words: str, found: tuple[int, int] | None
) -> None:
    places, dropped = find(Example.from_tokens("1", SENTENCE.split()), words)
    assert places == [found]
    assert dropped == ({} if found else {NOT_THERE: 1})


def test_the_nth_time_is_the_nth_occurrence() -> None:
    example = Example.from_tokens("1", SENTENCE.split())
    places, dropped = find(example, "New York", "New York", "New York", "new York")
    assert places == [(4, 6), (8, 10), None, (11, 13)], "their own case first"
    assert dropped == {TOO_OFTEN: 1}


def test_words_within_others_are_dropped() -> None:
    places, dropped = find(Example.from_tokens("1", ["New", "York", "City"]), "New York City", "York")
    assert places == [(0, 3), None]
    assert dropped == {OVERLAPS: 1}


def test_texts_of_users_are_aligned_too() -> None:
    example = Example.from_text("1", "Straße in  Łódź, ИВАН!")
    places, _ = find(example, "straße", "łódź", "Иван")
    assert [words_at(example, Span(*place, "X")) for place in places if place] == ["Straße", "Łódź", "ИВАН"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text("aAbé \n", min_size=1, max_size=4), min_size=1, max_size=8), st.data())
def test_every_span_of_a_text_is_found_again(words: list[str], data: st.DataObject) -> None:
    example = Example.from_text("1", " ".join(words))
    if not example.tokens:
        return
    start = data.draw(st.integers(0, len(example.tokens) - 1))
    end = data.draw(st.integers(start + 1, len(example.tokens)))
    span = Span(start, end, "X")
    (place,), _ = find(example, words_at(example, span))
    assert place is not None
    same = "".join(words_at(example, Span(*place, "X")).split())
    assert same == "".join(words_at(example, span).split())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=30), st.text(max_size=10))
def test_nothing_that_a_model_says_raises(text: str, words: str) -> None:
    example = Example.from_text("1", text)
    (place,), dropped = find(example, words)
    assert place is None or (0 <= place[0] < place[1] <= len(example.tokens) and not dropped)
