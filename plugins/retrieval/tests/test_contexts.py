"""Contexts: the leak guard, joining, and what an example says of its sources."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkit.data.types import SOURCES, Example
from mmkit_retrieval.annotators.contexts import choose, join, packed, unpacked, with_context
from mmkit_retrieval.retrieved import Retrieved

SENTENCE = "Jordan scores again in Paris , look !"
EXAMPLE = Example.from_tokens("1", SENTENCE.split())


def hit(text: str, id: str = "7#0", **fields: str) -> Retrieved:
    return Retrieved(id, id.partition("#")[0], "Title", text, 1.5, **fields)


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE,
        "  jordan SCORES\tagain in paris ,\n look !  ",
        "Jordan scores again in Paris, look!",
        "RT @someone: Jordan scores again in Paris, look! https://t.co/abc123",
        "Jordan scores again in #Paris — look www.example.org/x @friend",
        "RT @some _ one _ else : Jordan scores again in Paris , look !",
        "Ｊｏｒｄａｎ scores again in Paris , look !",
    ],
)
def test_the_sentence_itself_is_left_out(text: str) -> None:
    other = hit("Jordan is a river .")
    assert choose([hit(text), other], EXAMPLE, 5) == [other]
    assert choose([hit("", caption=text, image="a.jpg"), other], EXAMPLE, 5) == [other]


@pytest.mark.parametrize(
    "text",
    [
        "Jordan scores again in Paris",
        "Jordan scores again in Paris , look ! He was born in 1963 .",
        "Jordan scores again in London , look !",
        "Jordan",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert choose([hit(text)], EXAMPLE, 5) == [hit(text)]


def test_text_without_letters_is_compared_as_it_is() -> None:
    example = Example.from_tokens("1", ["https://t.co/1", "@a"])
    found = [hit("@b https://t.co/2"), hit("HTTPS://T.CO/1  @a"), hit("!!!")]
    assert choose(found, example, 5) == [found[0], found[2]]
    assert choose([hit("😀"), hit("😂")], Example.from_tokens("2", ["😀"]), 5) == [hit("😂")]


def test_the_text_and_the_tokens_are_both_guarded() -> None:
    example = Example("1", "I'm here", ("I", "am", "here"), ((0, 1), (1, 3), (4, 8)))
    assert choose([hit("i'm  here"), hit("I am here")], example, 5) == []


def test_as_many_as_asked_for_remain() -> None:
    found = [hit(SENTENCE), *(hit(f"paragraph {n}", f"{n}#0") for n in range(4))]
    assert choose(found, EXAMPLE, 3) == found[1:4]


def test_repeated_and_empty_passages_say_nothing_new() -> None:
    found = [hit("a cat", "1#0"), hit("a  cat", "2#0"), hit(" ", "3#0"), hit("a cat", "4#0", caption="mine")]
    assert choose(found, EXAMPLE, 5) == [found[0], found[3]]


@given(st.text("abcXYZäÖß .!?#@1😀", min_size=1).filter(str.split), st.sampled_from([str.upper, str.title]))
def test_no_case_or_space_gets_a_sentence_through(text: str, change: Callable[[str], str]) -> None:
    example = Example.from_tokens("1", text.split())
    assert choose([hit("\u3000" + "  ".join(change(text).split()) + "\n")], example, 1) == []


def test_joining_cuts_at_words() -> None:
    found = [hit("a small\n cat"), hit("sits .", caption="On a mat")]
    assert join(found, 100) == "a small cat On a mat sits ."
    assert join(found, 5) == "a small cat On a"
    assert join([], 5) == ""


def test_a_stored_result_is_json_and_short() -> None:
    found = [hit("word " * 500), hit("short", caption="a photo", image="b.jpg")]
    result = packed(found, "the context")
    again, context = unpacked(json.loads(json.dumps(result)))
    assert context == "the context"
    assert again[1] == found[1]
    assert again[0].text.endswith("word…")
    assert len(again[0].text) <= 200


def test_the_context_and_its_sources_are_noted() -> None:
    found = [hit("a text"), hit("", caption="a photo", image="b.jpg")]
    noted = with_context(EXAMPLE, "retrieval.text_context", "retrieval.text.v1", found, "a context")
    common = {"by": "retrieval.text.v1", "id": "7#0", "article": "7", "title": "Title", "score": 1.5}
    assert noted.notes == {
        "retrieval.text_context": "a context",
        SOURCES: [common | {"text": "a text"}, common | {"caption": "a photo", "image": "b.jpg"}],
    }
    assert (noted.text, noted.tokens) == (EXAMPLE.text, EXAMPLE.tokens)


def test_own_notes_are_replaced_and_others_kept() -> None:
    first = with_context(EXAMPLE, "text", "one", [hit("a")], "of one")
    both = with_context(first, "image", "two", [hit("b")], "of two")
    again = with_context(both, "text", "one", [hit("c")], "anew")
    assert [(source["by"], source["text"]) for source in again.notes[SOURCES]] == [("two", "b"), ("one", "c")]
    assert (again.notes["text"], again.notes["image"]) == ("anew", "of two")
    none = with_context(again, "text", "one", [], "")
    assert set(none.notes) == {"image", SOURCES}
    assert with_context(none, "image", "two", [], "").notes == {}
