"""Candidates by name: filled in, stored once, kept in a file, and good on the real mentions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mmkit.annotators.name_candidates import NameCandidates
from mmkit.annotators.run import annotate
from mmkit.data.candidates import candidate_recall, merge_candidates, recall_in_words
from mmkit.data.kb_melbench import KbMelbenchReader
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.mel import CandidateLists
from mmkit.data.melbench import RichpediaReader, WikimelReader
from mmkit.data.types import Entity, Example, Mention
from mmkit.loading.splits import Split
from raising import raises

ENTITIES = [
    Entity("Q1", "Michael Jordan", ("Air Jordan",)),
    Entity("Q2", "Jordan"),
    Entity("Q3", "Paris Hilton"),
    Entity("Q4", "Paris"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def annotator(entities: Sequence[Entity] = ENTITIES, **settings: Any) -> NameCandidates:
    made = NameCandidates(**settings)
    made.entities = entities
    return made


def mentions(*texts: str | None, **fields: Any) -> list[Example]:
    return [
        Example.from_tokens(f"{i}", ["a", "b"], mention=None if text is None else Mention(text), **fields)
        for i, text in enumerate(texts)
    ]


def candidates(examples: Sequence[Example]) -> list[tuple[str, ...]]:
    return [x.candidates for x in examples]


def test_lists_the_most_similar_entities_first() -> None:
    found = annotate(annotator(), mentions("Jordan", "paris", "Hilton", "?"))
    assert candidates(found) == [("Q2", "Q1"), ("Q4", "Q3"), ("Q3",), ()]


def test_an_example_without_a_mention_stays_as_it_is() -> None:
    without = mentions(None, candidates=("Q9",))
    assert annotate(annotator(replace=True), without) == without


def test_candidates_that_are_there_stay_unless_they_are_to_be_replaced() -> None:
    given = mentions("Jordan", candidates=("Q4",))
    assert candidates(annotate(annotator(), given)) == [("Q4",)]
    assert candidates(annotate(annotator(replace=True), given)) == [("Q2", "Q1")]


def test_takes_the_top_ones() -> None:
    assert candidates(annotate(annotator(top=1), mentions("Jordan", "Paris"))) == [("Q2",), ("Q4",)]


def test_equal_mentions_are_looked_up_once_and_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    worked_on = []
    original = NameCandidates.annotate

    def spy(self: NameCandidates, batch: Sequence[Example]) -> list[list[str]]:
        worked_on.extend(x.mention.text for x in batch if x.mention)
        return original(self, batch)

    monkeypatch.setattr(NameCandidates, "annotate", spy)
    first = annotate(annotator(), mentions("Jordan", "Paris", "Jordan"))
    assert annotate(annotator(), mentions("Jordan", "Paris", "Jordan")) == first
    assert worked_on == ["Jordan", "Paris"]


def test_another_knowledge_base_has_other_results(tmp_path: Path) -> None:
    assert candidates(annotate(annotator(), mentions("Jordan"))) == [("Q2", "Q1")]
    fewer = KnowledgeBase.build(tmp_path / "base", ENTITIES[:1])
    assert candidates(annotate(annotator(fewer), mentions("Jordan"))) == [("Q1",)]
    renamed = [Entity("Q1", "Michael Jordan"), *ENTITIES[1:]]
    prints = {annotator(base).fingerprint() for base in (ENTITIES, fewer, renamed)}
    assert len(prints) == 3
    assert annotator(top=5).fingerprint() not in prints


def test_needs_a_knowledge_base_and_room_for_one() -> None:
    with raises("annotator.no-entities", match=r"\[data\.entities\]"):
        annotate(annotator(entities=[]), mentions("Jordan"))
    with raises("part.setting", match="top = 0"):
        NameCandidates(top=0)


def test_the_file_holds_the_lists_of_all_splits_in_the_published_form(tmp_path: Path) -> None:
    path = tmp_path / "lists" / "search_top100.json"
    train = annotator(output=str(path))
    annotate(train, mentions("Jordan", "\ud800 Jordan"))
    annotate(train, mentions("Paris", "Jordan", None))
    annotate(annotator(output=str(path)), mentions("Hilton"))
    lists = json.loads(path.read_text())
    assert lists == {
        "Jordan": ["Q2", "Q1"],
        "\ud800 Jordan": ["Q2", "Q1"],
        "Paris": ["Q4", "Q3"],
        "Hilton": ["Q3"],
    }


def test_readers_take_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lists.json"
    annotated = annotate(annotator(output=str(path)), mentions("Jordan", "Hilton"))
    lists = CandidateLists.load(path, "mention", None, "", Counter())
    assert {x.mention.text: x.candidates for x in annotated if x.mention} == dict(lists.lists)


def test_a_later_list_takes_an_earlier_one_s_place(tmp_path: Path) -> None:
    merge_candidates(tmp_path / "lists.json", {"a": ["1"], "b": ["2"]})
    merge_candidates(tmp_path / "lists.json", {"b": ("3", "4")})
    assert json.loads((tmp_path / "lists.json").read_text()) == {"a": ["1"], "b": ["3", "4"]}


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', "{", ""])
def test_a_file_that_holds_something_else_stays_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "precious.json"
    path.write_text(content)
    with raises("data.candidate-lists", match=r"precious\.json"):
        merge_candidates(path, {"a": ["1"]})
    assert path.read_text() == content


def test_recall_counts_an_empty_list_as_a_miss() -> None:
    listed = [
        *mentions("a", "b", entity="Q1", candidates=("Q1", "Q2")),
        *mentions("c", entity="Q2", candidates=("Q1", "Q2")),
        *mentions("d", entity="Q1"),
        *mentions("e", candidates=("Q1",)),
    ]
    assert candidate_recall(listed, (1, 2, 9)) == {1: 0.5, 2: 0.75, 9: 0.75}
    assert candidate_recall(mentions("e")) == {}
    assert recall_in_words({1: 0.5, 10: 0.9954}) == "candidate recall @1 50.0%, @10 99.5%"


def test_a_sample_leaves_the_user_s_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "lists.json"
    settings = {"output": str(path), **NameCandidates.sample(tmp_path / "sample", 1, mentions("Jordan"))}
    assert candidates(annotate(annotator(**settings), mentions("Jordan"))) == [("Q2", "Q1")]
    assert not path.exists()


def test_recall_is_told_of_a_split_that_has_candidates() -> None:
    file = {"file": "x.json", "variant": None, "sha256": "0" * 64}
    examples = annotate(annotator(), mentions("Jordan", entity="Q1"))
    assert any("candidate recall" in line for line in Split("dev", examples, files=[file]).notes())
    bare = Split("dev", mentions("Jordan", entity="Q1"), files=[file])
    assert not any("candidate recall" in line for line in bare.notes())


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "reader", "floors"),
    [
        ("wikimel.json", WikimelReader, {1: 0.82, 10: 0.96, 100: 0.99}),
        ("richpedia.json", RichpediaReader, {1: 0.79, 10: 0.95, 100: 0.985}),
    ],
)
def test_finds_the_entities_of_the_real_mentions(
    shared: Path, tmp_path: Path, file: str, reader: Any, floors: dict[int, float]
) -> None:
    root = str(shared / "data" / "mel")
    base = KnowledgeBase.build(tmp_path / "base", KbMelbenchReader(root, file))
    examples = list(reader(root, file, split="test"))[:2000]
    recall = candidate_recall(annotate(annotator(base), examples), list(floors))
    assert all(recall[k] >= floor for k, floor in floors.items()), recall
