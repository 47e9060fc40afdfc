"""Words of an answer → tokens: what occurs is found by a stated rule, and nothing else."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit.data.types import Example, Span
from mmkit_vlm.alignment import NOT_THERE, OVERLAPS, TOO_OFTEN, Aligner, squashed, words_at

SENTENCE = "RT Bill Cosby 's New York trip : New York , new York and NYC"


def find(example: Example, *words: str) -> tuple[list[tuple[int, int] | None], Counter[str]]:
    dropped: Counter[str] = Counter()
    return Aligner(example, dropped).find(words), dropped


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


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        (SENTENCE, ["New York", "New York", "New York", "new York"], [(4, 6), (8, 10), TOO_OFTEN, (11, 13)]),
        ("New York City", ["New York City", "York"], [(0, 3), OVERLAPS]),
        ("New York City , New York", ["New York City", "New York"], [(0, 3), (4, 6)]),
        ("New York beats York", ["York", "New York"], [(3, 4), (0, 2)]),
        ("Jordan met jordan", ["Jordan", "Jordan"], [(0, 1), (2, 3)]),
        ("jordan met Jordan", ["Jordan", "jordan"], [(2, 3), (0, 1)]),
        ("jordan met Jordan", ["Jordan", "Jordan", "Jordan"], [(2, 3), (0, 1), TOO_OFTEN]),
        ("new york beats York", ["York", "New York"], [(3, 4), (0, 2)]),
        ("x y z w and y z w", ["x y", "y z w"], [(0, 2), (5, 8)]),  # only the order of the answer tells
    ],
)
def test_each_name_has_a_place_of_its_own(
    text: str, words: list[str], found: list[tuple[int, int] | str]
) -> None:
    places, dropped = find(Example.from_tokens("1", text.split()), *words)
    assert places == [None if isinstance(place, str) else place for place in found]
    assert dropped == Counter(place for place in found if isinstance(place, str))


@pytest.mark.parametrize("text", ["Caf\u00e9 in Sa\u0303o Paulo", "Cafe\u0301 in S\u00e3o Paulo"])
@pytest.mark.parametrize("words", [("Caf\u00e9", "Sa\u0303o"), ("CAFE\u0301", "s\u00e3o")])
def test_letters_and_accents_may_be_one_character_or_two(text: str, words: tuple[str, ...]) -> None:
    places, dropped = find(Example.from_tokens("1", text.split()), *words)
    assert (places, dropped) == ([(0, 1), (2, 3)], {})


def test_texts_of_users_are_aligned_too() -> None:
    example = Example.from_text("1", "Straße in  Łódź, ИВАН!")
    places, _ = find(example, "straße", "łódź", "Иван")
    assert [words_at(example, Span(*place, "X")) for place in places if place] == ["Straße", "Łódź", "ИВАН"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(["a", "b", "A", "ab", "e\u0301"]), min_size=1, max_size=12), st.data())
def test_a_right_answer_is_read_back(tokens: list[str], data: st.DataObject) -> None:
    """Each name has a place with its words; the places are the gold ones unless the same words stand elsewhere."""
    example = Example.from_tokens("1", tokens)
    cuts = data.draw(st.lists(st.integers(0, len(tokens)), unique=True, max_size=8).map(sorted))
    gold = list(zip(cuts[::2], cuts[1::2], strict=False))
    words = [words_at(example, Span(*place, "X")) for place in gold]
    places, dropped = find(example, *words)
    assert not dropped
    taken = [i for place in places if place for i in range(*place)]
    assert len(taken) == len(set(taken))
    read = [words_at(example, Span(*place, "X")) for place in places if place]
    assert [squashed(each) for each in read] == [squashed(each) for each in words]
    if all(len(Aligner(example, Counter()).places(each, True)) == 1 for each in words):
        assert places == gold


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


def test_many_accents_take_no_time() -> None:
    started = time.monotonic()
    places, dropped = find(Example.from_tokens("1", ["a"]), "a" + "\u0301\u0316" * 40_000)
    assert (places, dropped) == ([None], {NOT_THERE: 1})
    assert time.monotonic() - started < 10, "half a minute, if they were sorted together"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=30), st.text(max_size=10))
def test_nothing_that_a_model_says_raises(text: str, words: str) -> None:
    example = Example.from_text("1", text)
    (place,), dropped = find(example, words)
    assert place is None or (0 <= place[0] < place[1] <= len(example.tokens) and not dropped)
