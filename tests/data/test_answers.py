"""What `mmkit predict --output` writes is read back as examples, and nothing of it is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit.data.answers import ANSWER, example_from_answer, silver
from mmkit.data.jsonl import JsonlReader
from mmkit.data.types import SCORES, SOURCES, Example, Image, Mention, Prediction, Region, Relation, Span
from mmkit.tasks import JointTask, LinkTask, PairTask, Task
from raising import raises

TOKEN = st.sampled_from(["a", "b", "ab", "🎉", "Jordan", "#x"])
SCORE = st.integers(0, 10**6).map(lambda n: n / 10**6)
IMAGES = st.lists(
    st.builds(Image, st.none() | st.sampled_from(["a.jpg", "b/c.png"]), st.sampled_from(["photo", "object"])),
    max_size=3,
).map(tuple)


@st.composite
def answered(draw: st.DrawFn) -> tuple[Example, Prediction]:
    tokens = draw(st.lists(TOKEN, min_size=1, max_size=6))
    text, offsets = "", []
    for token in tokens:
        text += draw(st.sampled_from(["", " ", "a ", "  "]))
        offsets.append((len(text), len(text) + len(token)))
        text += token
    images = draw(IMAGES)
    bounds = st.tuples(st.integers(0, len(tokens) - 1), st.integers(1, len(tokens))).filter(
        lambda b: b[0] < b[1]
    )
    regions = st.just(())
    if images:
        box = st.tuples(*(st.integers(0, 9).map(float),) * 4)
        regions = st.lists(st.builds(Region, st.integers(0, len(images) - 1), box), max_size=1).map(tuple)
    span = st.builds(lambda b, label, shown: Span(*b, label, shown), bounds, st.sampled_from("XY"), regions)
    spans = draw(st.lists(span, max_size=3).map(tuple))
    relations = draw(
        st.lists(st.builds(Relation, span, span, st.none() | st.just("r")), max_size=2).map(tuple)
    )
    example = Example("1", text, tuple(tokens), tuple(offsets), images, notes={})
    scores = [tuple(draw(SCORE) for _ in found) for found in (spans, relations)]
    return example, Prediction("1", spans, scores[0], relations, scores[1], notes={"part.note": [1, "x"]})


def read_back(task: Task, example: Example, prediction: Prediction) -> Example:
    return example_from_answer(json.loads(json.dumps(task.answer(example, prediction).to_dict())), "x:1")


@given(answered())
@settings(deadline=None)
def test_entities_and_relations_come_back(found: tuple[Example, Prediction]) -> None:
    example, prediction = found
    again = read_back(JointTask(), example, prediction)
    expected = silver(example, prediction)
    assert again == expected
    assert [s.regions for s in again.spans] == [s.regions for s in expected.spans]


def test_scores_and_sources_are_notes() -> None:
    source = {"by": "p", "title": "t", "score": 0.5}
    example = Example.from_tokens("1", ["Jordan"], notes={SOURCES: [source]})
    again = read_back(JointTask(), example, Prediction("1", (Span(0, 1, "PER"),), (0.75,)))
    assert again.notes == {SOURCES: [source], SCORES: {"spans": [0.75]}}


def test_a_pair_and_its_relation_come_back() -> None:
    pair = Relation(Span(0, 1, "head"), Span(2, 3, "tail"))
    example = Example.from_tokens("1", ["a", "b", "a"], relations=(pair,))
    prediction = Prediction("1", relations=(replace(pair, label="r"),), relation_scores=(0.25,))
    assert read_back(PairTask(), example, prediction) == silver(example, prediction)


def test_links_come_back_with_the_place_of_their_mention() -> None:
    mention = Mention("a", Span(2, 3, "mention"))
    example = Example.from_tokens("1", ["a", "b", "a"], mention=mention, images=(Image("a.jpg"),))
    prediction = Prediction("1", links=("Q2", "Q1"), link_scores=(0.5, 0.25))
    again = read_back(LinkTask(), example, prediction)
    assert (again.mention, again.entity, again.candidates) == (mention, "Q2", ("Q2", "Q1"))
    assert again == silver(example, prediction)
    picture = replace(example, mention=None)
    assert read_back(LinkTask(), picture, prediction) == silver(picture, prediction)


def test_a_file_of_answers_is_a_file_of_examples(tmp_path: Path) -> None:
    example = Example.from_tokens("1", ["Jordan", "scores"], images=(Image("a.jpg"),))
    answer = JointTask().answer(example, Prediction("1", (Span(0, 1, "PER"),), (0.75,))).to_dict()
    (tmp_path / "x.jsonl").write_text(json.dumps({**answer, "more": [1]}) + "\n")
    [again] = JsonlReader(str(tmp_path), "x.jsonl")
    assert again.spans == (Span(0, 1, "PER"),) and again.images == (Image(str(tmp_path / "a.jpg")),)
    assert again.notes == {SCORES: {"spans": [0.75]}, ANSWER: {"more": [1]}}


def test_bounds_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    example = Example.from_tokens("1", ["Jordan", "scores"])
    answer = JointTask().answer(example, Prediction("1", (Span(0, 1, "PER"),), (0.75,))).to_dict()
    answer["entities"][0] |= {"start_char": 7, "end_char": 13, "text": "scores"}
    with raises("offsets.disagree", match=r"x:1: `entities\[0\]` says tokens 0 to 1"):
        example_from_answer(answer, "x:1")
    answer["entities"][0] = {"start": 0, "end": 3, "label": "PER", "score": 1}
    with raises("data.span-outside", match="x:1: "):
        example_from_answer(answer, "x:1")


def test_offsets_have_to_be_those_of_the_tokens_in_the_text() -> None:
    answer = {"id": "1", "text": "a b", "tokens": ["b", "a"], "offsets": [[2, 3], [0, 1]], "entities": []}
    assert example_from_answer(answer, "x:1").offsets == ((2, 3), (0, 1))
    for wrong in ([[2, 9], [0, 1]], [[3, 2], [0, 1]], [[2], [0, 1]]):
        with raises(
            "json.wrong-type", match=r"x:1: `offsets\[0\]` must be \[start, end\] within the text's 3 "
        ):
            example_from_answer({**answer, "offsets": wrong}, "x:1")
    with raises("data.offset-count", match="x:1: 2 tokens but 1 offsets"):
        example_from_answer({**answer, "offsets": [[2, 3]]}, "x:1")
