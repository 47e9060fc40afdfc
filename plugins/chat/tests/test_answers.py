"""Answers: without thoughts, and up to the last whole sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkit_chat.answers import Answer


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Paris is big. It is old. It has", "Paris is big. It is old."),
        ('He said "I am here." Then he', 'He said "I am here."'),
        ("He met George W. Bush and J. R. Smith. After", "He met George W. Bush and J. R. Smith."),
        ("It costs 3.5 million", "It costs 3.5 million"),
        ("巴黎是首都。它很", "巴黎是首都。"),
        ("Really?! Yes! And", "Really?! Yes!"),
        ("All whole.", "All whole."),
        ("<think>A. B is. C</think>\n It is big. It", "It is big."),
        ("<think>Paris is big. It", ""),
    ],
)
def test_a_truncated_answer_ends_with_its_last_whole_sentence(text: str, kept: str) -> None:
    assert Answer(text, truncated=True).whole_sentences() == kept


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>Hm.</think> Paris.", "Paris."),
        ("Okay, the user\nwants one.\n</think>\n\nParis.", "Paris."),
        ('Perhaps {"a": 1}?</think>{"a": 2}', '{"a": 2}'),
        ("Okay.</think>", ""),
        ("</think>Paris.", "Paris."),
        ("Hm.</think>One.</think>", "One.</think>"),
        ('{"a": 1}\n</think>', '{"a": 1}\n</think>'),
        ('```json\n{"a": "</think>"}\n```', '```json\n{"a": "</think>"}\n```'),
        ("A thought ends with `</think>`.", "A thought ends with `</think>`."),
        ("Paris.", "Paris."),
    ],
)
def test_thoughts_are_no_answer(text: str, left: str) -> None:
    assert Answer(text).without_thoughts() == left


@given(st.text("aB. !?\n\"')", max_size=40))
def test_a_description_is_a_beginning_of_the_answer(text: str) -> None:
    whole = Answer(text).whole_sentences()
    cut = Answer(text, truncated=True).whole_sentences()
    assert whole == text.strip()
    assert whole.startswith(cut)
    assert bool(cut) == bool(whole)
    assert Answer(cut, truncated=True).whole_sentences() == cut
