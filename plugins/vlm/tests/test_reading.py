"""Answers of every form: what can be used is used, the rest is counted, nothing raises."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit.data.types import Entity, Example, Mention, Prediction, Relation, Span
from mmkit_chat.answers import Answer
from mmkit_vlm.account import NOTE, account, told
from mmkit_vlm.alignment import NOT_THERE
from mmkit_vlm.decoder import ChatDecoder
from mmkit_vlm.entities import Entities
from mmkit_vlm.joint import NO_END, TWICE, Joint
from mmkit_vlm.links import Links
from mmkit_vlm.reading import FORM, LABEL, MANY, MOST_ITEMS, json_of
from mmkit_vlm.relations import Relations
from mmkit_vlm.settings import ChatSettings

STAND_IN = ChatSettings(backend="stand_in", prices=(1.0, 4.0))
JORDAN, PARIS = Span(0, 1, "PER"), Span(3, 4, "LOC")
EXAMPLE = Example.from_tokens(
    "1", ["Jordan", "was", "in", "Paris"], spans=(JORDAN, PARIS), relations=(Relation(JORDAN, PARIS, "in"),)
)
LINKED = Example.from_tokens(
    "1", ["Jordan", "runs"], mention=Mention("Jordan"), candidates=("Q1", "Q2", "Q3"), entity="Q2"
)
KNOWN = [Entity("Q1", "Jordan", description="a country"), Entity("Q2", "Jordan", description="a player")]


def built(kind: type[ChatDecoder], example: Example = EXAMPLE) -> ChatDecoder:
    decoder = kind(STAND_IN)
    decoder.build({"query": 1}, decoder.fit([example]), KNOWN)
    return decoder


def predicted(kind: type[ChatDecoder], text: str, example: Example = EXAMPLE, truncated: bool = False) -> Any:
    decoder = built(kind, example)
    answer = Answer(text, truncated, 1_000_000, 250_000)
    return decoder._predicted(decoder.task.question(example), answer, 0)


def named(*entities: tuple[str, str]) -> str:
    return json.dumps({"entities": [{"text": text, "type": type} for text, type in entities]})


def dropped(prediction: Any) -> dict[str, int]:
    found: dict[str, int] = prediction.notes[NOTE].get("dropped", {})
    return found


def test_entities_are_aligned_and_the_rest_counted() -> None:
    found = predicted(Entities, named(("Paris", "loc"), ("Jordan", "PER"), ("Rome", "LOC"), ("was", "VERB")))
    assert found.spans == (JORDAN, PARIS)
    assert found.span_scores == (1.0, 1.0)
    assert dropped(found) == {NOT_THERE: 1, LABEL: 1}
    assert found.notes[NOTE]["cost"] == 2.0, "a million tokens asked at 1, a quarter of a million at 4"


def test_an_unknown_label_uses_up_its_occurrence() -> None:
    twice = Example.from_tokens("1", ["Jordan", "met", "Jordan"], spans=(Span(2, 3, "PER"),))
    found = predicted(Entities, named(("Jordan", "ANIMAL"), ("Jordan", "PER")), twice)
    assert found.spans == (Span(2, 3, "PER"),) and dropped(found) == {LABEL: 1}
    within = predicted(Entities, named(("Jordan met", "ANIMAL"), ("Jordan", "PER")), twice)
    assert within.spans == (Span(0, 1, "PER"),), "what is dropped overlaps nothing"


@pytest.mark.parametrize(
    "wrapped",
    [
        "{}",
        "Here it is:\n```json\n{}\n```\nI hope this helps {{}}",
        "<think>Is {{1}}?</think> {}",
        "{{oops}} {}",
        "{{x}} " * 50 + "{}",
    ],
)
def test_words_around_the_json_do_not_matter(wrapped: str) -> None:
    text = wrapped.replace("{{", "\0").replace("}}", "\1").replace("{}", named(("Jordan", "PER")))
    assert predicted(Entities, text.replace("\0", "{").replace("\1", "}")).spans == (JORDAN,)


def test_line_breaks_in_a_name_are_read() -> None:
    assert predicted(Entities, '{"entities": [{"text": "Jor\ndan", "type": "PER"}]}').spans == (JORDAN,)


@pytest.mark.parametrize(
    "text",
    [
        ('{"a":' * 900 + "!" + " " * 1000) * 40,
        ('{"a": ' + "1" * 5000 + "}") * 40,
        '{"' * 100_000,
        '{"a' * 100_000,
        '{":' * 100_000,
        "{" * 1_000_000,
        '{"a": [' * 50_000,
        ('{"a": ["' + "x" * 400 + '", ') * 800,
    ],
    ids=["chains", "numbers", "quotes", "texts", "colons", "braces", "lists", "wide"],
)
def test_no_answer_takes_long_to_read(text: str) -> None:
    started = time.monotonic()
    assert isinstance(json_of(Answer(text), {"entities"}), str)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I see no entities.",
        "[]",
        '{"entities": [{"text": "Jordan", "type"',
        '{"entities": [{"text": "Jordan", "type": "PER"}, {"te',
        '{"entities": [{"text": "Jordan", "type": "PER"} {"text": "Paris", "type": "LOC"}]}',
        '[{"text": "Jordan", "type": "PER"}]',
        "{}",
        "{" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "\ud800",
    ],
    ids=[
        *("nothing", "words", "a list", "half", "a second half", "no comma", "items alone", "no fields"),
        *("braces", "deep", "a surrogate"),
    ],
)
@pytest.mark.parametrize("kind", [Entities, Joint, Relations])
def test_what_is_no_json_object_is_unusable(kind: type[ChatDecoder], text: str) -> None:
    found = predicted(kind, text)
    assert found.spans == found.relations == ()
    assert found.notes[NOTE]["unusable"].startswith("the answer has no JSON object with ")
    cut = predicted(kind, text, truncated=True)
    assert cut.notes[NOTE]["unusable"] == "the answer ends in the middle, at max_tokens"


@pytest.mark.parametrize(
    "value",
    [
        {"entities": None},
        {"entities": "Jordan"},
        {"entities": {"text": "Jordan"}},
        {"entities": [None]},
        {"entities": [["Jordan", "PER"]]},
        {"entities": [{"text": 3, "type": "PER"}]},
        {"entities": [{"text": "Jordan", "type": None}]},
        {"entities": [{"text": " ", "type": "PER"}]},
    ],
    ids=str,
)
def test_another_schema_is_counted(value: dict[str, Any]) -> None:
    found = predicted(Entities, json.dumps(value))
    assert found.spans == ()
    assert dropped(found) == {FORM: 1}


def test_an_endless_list_is_cut() -> None:
    found = predicted(Entities, named(*[("Rome", "LOC")] * (MOST_ITEMS + 7)))
    assert dropped(found) == {NOT_THERE: MOST_ITEMS, MANY: 7}


def test_relations_join_entities_of_the_answer() -> None:
    relations = [
        {"head": "Jordan", "relation": "in", "tail": "Paris"},
        {"head": "jordan", "relation": "in", "tail": "Paris"},
        {"head": "Jordan", "relation": "IN", "tail": "Paris"},
        {"head": "Jordan", "relation": "in", "tail": "Rome"},
        {"head": "Jordan", "relation": "in", "tail": "Jordan"},
        {"head": "Jordan", "relation": "near", "tail": "Paris"},
    ]
    entities = [{"text": "Jordan", "type": "PER"}, {"text": "Paris", "type": "LOC"}]
    found = predicted(Joint, json.dumps({"entities": entities, "relations": relations}))
    assert found.relations == EXAMPLE.relations
    assert dropped(found) == {NO_END: 2, TWICE: 2, LABEL: 1}


def test_a_pair_gets_a_known_relation_or_none() -> None:
    assert predicted(Relations, '{"relation": "in"}').relations == EXAMPLE.relations
    unknown = predicted(Relations, '{"relation": "near"}')
    assert unknown.relations == ()
    assert dropped(unknown) == {LABEL: 1}


def test_the_chosen_candidate_comes_first() -> None:
    for said in ('{"entity": "2"}', '{"entity": 2}'):
        found = predicted(Links, said, LINKED)
        assert found.links == ("Q2", "Q1", "Q3")
        first, second, third = found.link_scores
        assert first == 1.0
        assert 0 < third < second < 0.5
    for said in ('{"entity": "none"}', '{"entity": 4}', '{"entity": true}', "Jordan"):
        found = predicted(Links, said, LINKED)
        assert found.links == LINKED.candidates, said
        assert max(found.link_scores) < 0.5


def test_a_question_contains_no_answer() -> None:
    for kind, example, secret in (
        (Entities, EXAMPLE, "PER"),
        (Joint, EXAMPLE, "PER"),
        (Relations, EXAMPLE, '"in"'),
        (Links, LINKED, "Q2"),
    ):
        decoder = built(kind, example)
        assert secret not in decoder.asked(decoder.task.question(example))
    shown = built(Links, LINKED).asked(LINKED)
    assert "2. Jordan: a player" in shown and "3. Q3" in shown


def test_right_answers_are_read_as_the_gold_annotations() -> None:
    for kind in (Entities, Joint, Relations):
        decoder = built(kind)
        right = predicted(kind, json.dumps(decoder.right(EXAMPLE)))
        assert right.relations == (() if kind is Entities else EXAMPLE.relations)
        assert right.spans == (() if kind is Relations else EXAMPLE.spans)
        assert not dropped(right)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["Jordan", "PER", "in"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["entities", "relations", "text", "type", "head", "tail", "relation", "entity"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values, st.sampled_from([Entities, Joint, Relations, Links]))
def test_no_json_raises(value: Any, kind: type[ChatDecoder]) -> None:
    found = predicted(kind, json.dumps(value), LINKED if kind is Links else EXAMPLE)
    assert found.id == "1"
    assert account([found]) is not None


def test_an_account_sums_what_became_of_answers() -> None:
    some = [predicted(Entities, named(("Rome", "LOC"))), predicted(Entities, "no"), predicted(Entities, "no")]
    found = account(some)
    assert found is not None
    assert (found["examples"], found["usable"], found["counted"]) == (3, 1, 3)
    assert found["unusable"] == {"the answer has no JSON object with entities": 2}
    assert found["dropped"] == {NOT_THERE: 1}
    assert found["cost"] == 6.0 and found["prompt_tokens"] == 3_000_000
    assert account([]) is None
    assert Counter(found["no_answer"]) == {}


def test_an_account_tells_of_how_many_and_not_every_reason() -> None:
    def noted(**note: Any) -> Prediction:
        return Prediction("1", notes={NOTE: note})

    counted = noted(prompt_tokens=5, answer_tokens=3)
    half = noted(prompt_tokens=7)
    refused = [noted(no_answer=f"429: busy, request req_{i:08x}") for i in range(40)]
    others = [noted(no_answer=f"reason {i}") for i in range(30)]
    found = account([counted, half, noted(), *refused, *others])
    assert found is not None
    assert (found["counted"], found["prompt_tokens"], found["questions"]) == (1, 5, 73)
    assert found["no_answer"]["429: busy, request …"] == 40
    lines = list(told("test", found))
    assert lines[0] == "test: 3 of 73 answers can be used"
    assert lines[1] == "  40 429: busy, request …"
    assert lines[-2:] == ["and 21 more of this kind", "  5 tokens asked, 3 answered (for 1 of 73 questions)"]
    assert len(lines) == 13
