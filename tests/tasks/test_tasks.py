"""Tasks: what becomes of a user's request, what a decoder sees of an example, and what the answer looks like."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from json_schema import violations
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import (
    ORPHANS,
    SOURCES,
    Entity,
    Example,
    Image,
    Mention,
    Prediction,
    Region,
    Relation,
    Span,
)
from mmkit.errors import printable
from mmkit.tasks import (
    Answer,
    Found,
    Input,
    JointTask,
    LinkAnswer,
    LinkTask,
    PairTask,
    SpanAnswer,
    SpanTask,
    Task,
    known_tasks,
)
from raising import raises

HEAD, TAIL = Span(0, 1, "head"), Span(2, 3, "tail")
SHOWN = Span(0, 1, "PER", (Region(1, (1.0, 2.0, 30.5, 40.0)),))
GOLD = Example.from_tokens(
    "7",
    ["Jordan", "visits", "Paris"],
    images=(Image("a.jpg"), Image("crop.jpg", "object")),
    spans=(SHOWN, Span(2, 3, "LOC")),
    relations=(Relation(HEAD, TAIL, "visits"),),
    mention=Mention("Jordan", Span(0, 1, "mention")),
    entity="Q1",
    candidates=("Q1", "Q2"),
    notes={ORPHANS: [[0, 1]], "x.topic": "sports"},
)


@pytest.fixture
def base(tmp_path: Path) -> KnowledgeBase:
    return KnowledgeBase.build(
        tmp_path / "kb", [Entity("Q1", "Air Jordan", description="a shoe"), Entity("Q2", "J")]
    )


# What is asked


def test_a_question_keeps_what_is_given_and_loses_what_is_sought() -> None:
    spans = SpanTask().question(GOLD)
    assert (spans.spans, spans.relations, spans.entity) == ((), (), None)
    assert spans.notes == {"x.topic": "sports"}
    assert JointTask().question(GOLD) == spans
    pair = PairTask().question(GOLD)
    assert pair.relations == (Relation(HEAD, TAIL),)
    link = LinkTask().question(GOLD)
    assert (link.entity, link.mention, link.candidates) == (None, GOLD.mention, GOLD.candidates)
    for question in (spans, pair, link):
        assert (question.id, question.tokens, question.images) == (GOLD.id, GOLD.tokens, GOLD.images)


@pytest.mark.parametrize("task", known_tasks(), ids=lambda task: task.name)
def test_a_question_s_question_is_itself(task: Task) -> None:
    question = task.question(GOLD)
    assert task.question(question) == question


def test_a_pair_is_words_or_bounds() -> None:
    by_words = PairTask().example("Jordan visits Paris", given={"head": "Jordan", "tail": "Paris"})
    assert by_words.relations == (Relation(HEAD, TAIL),)
    assert PairTask().example("Jordan visits Paris", given={"head": (0, 1), "tail": (2, 3)}) == by_words


def test_a_mention_may_be_no_words_of_the_text_or_a_picture_alone(base: KnowledgeBase) -> None:
    task = LinkTask()
    assert task.example("so true", given={"mention": "Jordan"}, entities=base).mention == Mention("Jordan")
    assert task.example("", ["a.jpg"], {"mention": ""}, base).mention is None
    with raises("input.no-words"):
        task.example("", given={"mention": "Jordan"}, entities=base)


@pytest.mark.parametrize(
    ("task", "given", "code", "hint"),
    [
        (SpanTask(), {"head": "a", "tail": "b"}, "input.not-for-task", "remove --head and --tail"),
        (SpanTask(), {"candidates": ["Q1"]}, "input.not-for-task", "remove --candidate"),
        (PairTask(), {"mention": ""}, "input.not-for-task", "remove --mention"),
        (PairTask(), {"haed": "a"}, "input.unknown", "did you mean 'head'?"),
        (SpanTask(), {"haed": "a"}, "input.unknown", "a text and images"),
        (PairTask(), {}, "task.no-pair", "--head and --tail"),
        (PairTask(), {"tail": "Paris"}, "input.half-pair", "--head and --tail"),
        (PairTask(), {"head": "Rome", "tail": "Paris"}, "input.not-in-text", "Jordan | visits | Paris"),
        (PairTask(), {"head": (0, 9), "tail": "Paris"}, "input.span-outside", ""),
        (LinkTask(), {}, "input.no-mention", "--mention, or mention=..."),
        (LinkTask(), {"mention": "Jordan", "candidates": ["Q9"]}, "input.unknown-entity", "[data.entities]"),
        (LinkTask(), {"mention": "Jordan", "candidates": "Q1"}, "input.candidates", "candidates=['Q1']"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(
    task: Task, given: Mapping[str, Any], code: str, hint: str, base: KnowledgeBase
) -> None:
    with raises(code) as caught:
        task.example("Jordan visits Paris", given=given, entities=base)
    assert hint in caught.value.hint


def test_what_a_model_cannot_do_is_said_before_what_is_wrong() -> None:
    for task, asked in [
        (SpanTask(), {"mention": "Rome"}),
        (PairTask(), {"mention": "Rome", "head": "nobody"}),
    ]:
        with raises("input.not-for-task", match="mention"):
            task.example("", ["none.jpg"], asked)


@pytest.mark.parametrize(
    "sentences",
    [["Jordan scores again"], ["Hi there", "see you"], ["look at him", "!", "x"], ["Paris", "is hot"]],
)
def test_a_list_of_sentences_is_no_sentence(sentences: list[str]) -> None:
    with raises("input.text") as caught:
        SpanTask().example(sentences)
    assert "predict_many(" in caught.value.hint


@pytest.mark.parametrize("tokens", [["Jordan"], [" rocks"], ["10\u00a0000", "people"], ["5\u202f%"]])
def test_tokens_may_hold_a_no_break_space(tokens: list[str]) -> None:
    assert SpanTask().example(tokens).tokens == tuple(tokens)


def test_none_is_no_picture() -> None:
    assert SpanTask().example("hi", None).images == SpanTask().example("hi", [None]).images == ()
    assert SpanTask().example("hi", [float("nan")]).images == ()
    assert SpanTask().example("hi", [None, "a.jpg", Path("b.jpg")]).images == (Image("a.jpg"), Image("b.jpg"))


@pytest.mark.parametrize(
    ("text", "images", "code"),
    [
        ("hi", "a.jpg", "input.images"),
        ("hi", Path("a.jpg"), "input.images"),
        ("hi", [3], "input.images"),
        ("", (), "input.no-words"),
        ("caf\udce9", (), "input.not-unicode"),
        ([1, 2], (), "input.text"),
        (None, (), "input.text"),
    ],
)
def test_a_text_or_picture_that_is_none_is_refused(text: Any, images: Any, code: str) -> None:
    with raises(code):
        SpanTask().example(text, images)


def test_an_input_may_not_have_the_name_of_a_general_one() -> None:
    with raises("part.task", match="'text'"):
        Input("text", "twice")
    with raises("part.task"):
        Input("picture", "twice", option="image")


# What is answered


SPANS = Prediction("7", spans=(SHOWN, Span(2, 3, "LOC")), span_scores=(0.91234567, 0.5), notes={"t.n": [1]})
JOINT = replace(SPANS, relations=(Relation(HEAD, TAIL, "visits"),), relation_scores=(0.75,))
PAIR = Prediction("7", relations=JOINT.relations, relation_scores=JOINT.relation_scores)
LINKS = Prediction("7", links=("Q1", "Q9"), link_scores=(0.8, 0.3))
SOURCED = replace(
    GOLD, notes={SOURCES: [{"by": "t.find.v1", "title": "Jordan", "score": 0.5, "text": "a\x1b[31m"}]}
)
ANSWERS = [(SpanTask(), SPANS), (JointTask(), JOINT), (PairTask(), PAIR), (LinkTask(), LINKS)]


def test_spans_are_told_with_words_bounds_and_regions() -> None:
    answer = SpanTask().answer(GOLD, SPANS)
    assert isinstance(answer, SpanAnswer)
    first, second = answer.entities
    assert (first.text, first.label, first.start_char, first.end_char, first.score) == (
        "Jordan",
        "PER",
        0,
        6,
        0.912346,
    )
    assert first["regions"] == [{"image": 1, "path": "crop.jpg", "box": [1.0, 2.0, 30.5, 40.0]}]
    assert "regions" not in second and dict(second)["label"] == "LOC"
    assert answer["images"] == ["a.jpg"] and answer["notes"] == {"t.n": [1]}
    assert answer == answer.to_dict() and list(answer) == list(answer.to_dict())


def test_links_are_told_with_names(base: KnowledgeBase) -> None:
    answer = LinkTask().answer(GOLD, LINKS, base)
    assert isinstance(answer, LinkAnswer)
    assert answer["links"] == [
        {"entity": "Q1", "name": "Air Jordan", "description": "a shoe", "score": 0.8},
        {"entity": "Q9", "score": 0.3},
    ]


@pytest.mark.parametrize(("task", "prediction"), ANSWERS, ids=lambda x: getattr(x, "name", ""))
def test_an_answer_is_json_of_its_schema(task: Task, prediction: Prediction, base: KnowledgeBase) -> None:
    schema = json.loads(json.dumps(task.schema()))
    answer = task.answer(SOURCED, prediction, base)
    plain = json.loads(json.dumps(answer.to_dict(), allow_nan=False))
    assert plain == answer.to_dict()
    assert list(violations(plain, schema)) == []
    assert list(violations({**plain, "surplus": 1}, schema))
    assert list(violations({k: v for k, v in plain.items() if k != "text"}, schema))
    assert list(violations({**plain, "tokens": [1]}, schema))


def shown(task: Task, answer: Answer) -> str:
    out = io.StringIO()
    task.render(answer, Console(file=out, highlight=False, soft_wrap=True, color_system=None, width=200))
    return out.getvalue()


def test_a_person_sees_what_was_found(base: KnowledgeBase) -> None:
    spans = shown(SpanTask(), SpanTask().answer(GOLD, SPANS))
    assert "PER Jordan  (tokens 0:1, characters 0:6)  0.912" in spans
    assert "in crop.jpg at 1, 2, 30.5, 40" in spans
    assert "Jordan → visits → Paris  0.750" in shown(PairTask(), PairTask().answer(GOLD, PAIR))
    links = shown(LinkTask(), LinkTask().answer(GOLD, LINKS, base))
    assert "Jordan is\n" in links and "0.800  Q1  Air Jordan  a shoe" in links and "0.300  Q9" in links
    assert "nothing found" in shown(SpanTask(), SpanTask().answer(GOLD, Prediction("7")))


def test_data_cannot_control_a_terminal(base: KnowledgeBase) -> None:
    evil = replace(
        SOURCED,
        text="Jordan \x1b[2J [red] Paris",
        images=(Image("\x1b]0;owned\x07.jpg"), Image("\u202egpj.exe", "object")),
        mention=Mention("\x9b31m[bold]"),
    )
    relation = Relation(replace(HEAD, label="\x1bX"), TAIL, "[/]\x07")
    joint = replace(
        JOINT, spans=(replace(SHOWN, label="\x1b[1m"),), span_scores=(1.0,), relations=(relation,)
    )
    for task, prediction in [(JointTask(), joint), (PairTask(), replace(PAIR, relations=(relation,)))]:
        told = shown(task, task.answer(evil, prediction))
        assert not set(told) & set("\x1b\x9b\x07\u202e"), ascii(told)
        assert "␛" in told and "[red]" in told
    assert "\\u009b31m[bold] is" in shown(LinkTask(), LinkTask().answer(evil, LINKS, base))


@given(st.text())
def test_printable_text_controls_nothing_and_loses_nothing(text: str) -> None:
    told = printable(text)
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in told)
    assert [c for c in text if c.isalnum()] == [c for c in told if c.isalnum()] or told != text
    assert printable(told) == told


class Tags(HTMLParser):
    """Collects an HTML text's elements and words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(("task", "prediction"), ANSWERS, ids=lambda x: getattr(x, "name", ""))
def test_html_holds_the_data_and_no_markup_of_theirs(
    task: Task, prediction: Prediction, base: KnowledgeBase
) -> None:
    evil = Example.from_tokens(
        "7",
        ["<script>", "&", "Paris"],
        images=(Image('"><img>'), Image("o.jpg", "object")),
        mention=Mention("<b>"),
    )
    parsed = Tags(task.html(task.answer(evil, prediction, base)))
    assert parsed.tags[0] == "article" and not {"script", "img"} & set(parsed.tags)
    assert "<script> & Paris" in parsed.text and '"><img>' in parsed.text


def test_predictions_that_an_answer_has_no_place_for_are_not_lost_in_silence() -> None:
    with raises("part.task", match="relations"):
        SpanTask().answer(GOLD, JOINT)
    with raises("part.task", match="links"):
        JointTask().answer(GOLD, LINKS)


# A task of one's own


@dataclass(frozen=True, kw_only=True, eq=False)
class Mood(Found):
    """A mood."""

    name: str
    strength: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class MoodAnswer(Answer):
    """How a sentence feels."""

    moods: tuple[Mood, ...]
    weights: Mapping[str, float]


class MoodTask(Task):
    """Finds moods, of those that a user may name."""

    name = "moods"
    does_not = "feels no moods"
    answer_type = MoodAnswer
    inputs = (Input("among", "a mood to choose from", many=True), Input("least", "how strong", "number"))

    def question(self, example: Example) -> Example:
        return example

    def asked(self, example: Example, given: Mapping[str, Any], entities: Any) -> Example:
        return replace(example, notes={"t.moods": list(given.get("among", ()))})

    def answered(self, example: Example, prediction: Prediction, entities: Any) -> Answer:
        moods = [Mood(name=name) for name in example.notes["t.moods"]]
        return MoodAnswer.of(example, prediction, moods=tuple(moods), weights={"joy": 0.5})


def test_a_task_of_one_s_own_has_everything_by_default() -> None:
    task = MoodTask()
    answer = task.answer(task.example("so happy", given={"among": ["joy", "<rage>"]}), Prediction("input"))
    assert answer["moods"] == [{"name": "joy"}, {"name": "<rage>"}]
    assert list(violations(json.loads(json.dumps(answer.to_dict())), task.schema())) == []
    assert 'moods: [{"name": "joy"}, {"name": "<rage>"}]' in shown(task, answer)
    assert "<rage>" in Tags(task.html(answer)).text
    assert task.describe()["inputs"][0] == {
        "name": "among",
        "option": "--among",
        "help": "a mood to choose from",
        "kind": "text",
        "many": True,
        "required": False,
    }
    with raises("input.not-for-task", match="among"):
        SpanTask().example("so happy", given={"among": ["joy"]})


# What it is trained on


def test_a_survey_says_what_training_would_lack(base: KnowledgeBase) -> None:
    bare = Example.from_tokens("8", ["hi"])
    unlabelled = replace(GOLD, relations=(Relation(HEAD, TAIL),))
    assert [str(said) for said in SpanTask().survey([bare]).warnings] == ["no example has a span"]
    assert not SpanTask().survey([bare, GOLD]).warnings
    assert PairTask().check_training([bare, unlabelled, GOLD]) == [
        "1 example has no pair of spans to classify",
        "1 relation has no label",
    ]
    lost = replace(GOLD, entity="Q7")
    found = LinkTask().survey([bare, GOLD, lost], base)
    assert [str(problem) for problem in found.problems] == [
        "1 mention has no entity",
        "the knowledge base lacks 1 entity of 1 mentions: Q7",
    ]
    assert found.facts["linking"]["mentions"] == 3
    assert LinkTask().survey([bare], ()).problems == ()
    assert list(JointTask().labels(GOLD)) == [("spans", "PER"), ("spans", "LOC"), ("relations", "visits")]
    assert list(PairTask().labels(unlabelled)) == []


def test_a_survey_says_which_heads_and_tails_are_no_entities() -> None:
    other = Span(HEAD.start, HEAD.end, "OTHER")
    gold = replace(GOLD, spans=(HEAD, TAIL))
    wrong = replace(gold, id="wrong", relations=(Relation(other, TAIL, "visits"),))
    assert not JointTask().survey([gold]).warnings
    (said,) = JointTask().survey([gold, wrong]).warnings
    assert said.at == [("wrong", HEAD.start)] and said.level == "warning"
    assert str(said).startswith("1 relation has a head or a tail that is not among the entities")
