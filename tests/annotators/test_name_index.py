"""The index of names: exact, in any order, whole or in part, for any text."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit.annotators.name_features import folded, name_features
from mmkit.annotators.name_index import NameIndex
from mmkit.data.types import Entity

# Few letters, so that names share trigrams; and a sprinkling of everything else.
LETTERS = st.text("abAB éÉ.-", max_size=10)
ANYTHING = st.one_of(LETTERS, st.text(st.characters(), max_size=8))
NAMES = st.lists(st.lists(ANYTHING, min_size=1, max_size=3), min_size=1, max_size=15)


def entities_of(names: Sequence[Sequence[str]]) -> list[Entity]:
    return [Entity(f"Q{i}", first, tuple(others)) for i, (first, *others) in enumerate(names)]


def found(entities: Sequence[Entity], text: str, top: int = 100) -> list[tuple[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        index = NameIndex.build(Path(folder) / "index", entities)
        rows, similarities = index.search(text, top)
        return list(zip(index.ids(rows), similarities.tolist(), strict=True))


def reference_features(text: str) -> set[str]:
    words = folded(text).split()
    return {f" {w} "[i : i + 3] for w in words for i in range(len(w))} | {f"word {w}" for w in words}


def reference(entities: Sequence[Entity], text: str) -> list[tuple[str, float]]:
    """The ranking by its definition: every name is compared, one at a time."""
    names = [(name, e.id) for e in entities for name in dict.fromkeys((e.name, *e.aliases))]
    having = Counter(f for name, _ in names for f in reference_features(name))

    def weight(features: set[str]) -> float:
        return sum(math.log1p(len(names) / having.get(f, 1)) for f in features)

    own = reference_features(text)
    scored = []
    for place, (name, id) in enumerate(names):
        theirs = reference_features(name)
        if own & theirs:
            small, large = sorted([weight(own), weight(theirs)])
            similarity = round(weight(own & theirs) / (0.9 * small + 0.1 * large), 6)
            scored.append((-similarity, name != text, len(name), place, id))
    best: dict[str, float] = {}
    for negative, _, _, _, id in sorted(scored):
        best.setdefault(id, -negative)
    return list(best.items())


@settings(deadline=None, max_examples=80)
@given(NAMES, ANYTHING, st.integers(1, 6))
def test_finds_what_comparing_every_name_finds(names: list[list[str]], text: str, top: int) -> None:
    entities = entities_of(names)
    expected = reference(entities, text)[:top]
    got = found(entities, text, top)
    assert [similarity for _, similarity in got] == pytest.approx([s for _, s in expected], abs=2e-6)
    if len({round(similarity, 4) for _, similarity in expected}) == len(expected):
        assert [id for id, _ in got] == [id for id, _ in expected]


@settings(deadline=None, max_examples=80)
@given(NAMES, st.data())
def test_an_entity_called_like_the_mention_comes_first(names: list[list[str]], data: st.DataObject) -> None:
    entities = entities_of(names)
    meant = data.draw(st.sampled_from(entities))
    text = data.draw(st.sampled_from([meant.name, *meant.aliases]))
    best = found(entities, text)
    if folded(text):
        similarity = dict(best)
        assert similarity[meant.id] == best[0][1] == 1
        first = next(e for e in entities if e.id == best[0][0])
        assert text in (first.name, *first.aliases)


@settings(deadline=None, max_examples=80)
@given(NAMES, ANYTHING, st.randoms(use_true_random=False))
def test_the_order_of_the_entities_does_not_matter(names: list[list[str]], text: str, random: Random) -> None:
    entities = entities_of(names)
    shuffled = random.sample(entities, len(entities))
    one, other = found(entities, text), found(shuffled, text)
    assert dict(one) == dict(other)
    assert [similarity for _, similarity in one] == [similarity for _, similarity in other]


@settings(deadline=None, max_examples=80)
@given(NAMES, ANYTHING, st.integers(1, 5))
def test_fewer_candidates_are_the_first_of_more(names: list[list[str]], text: str, top: int) -> None:
    assert found(entities_of(names), text, top) == found(entities_of(names), text)[:top]


@settings(deadline=None, max_examples=80)
@given(st.lists(ANYTHING))
def test_features_of_many_texts_are_those_of_each(texts: list[str]) -> None:
    texts = [folded(text) for text in texts]
    keys, counts = name_features(texts)
    each = np.split(keys, np.cumsum(counts)[:-1]) if texts else []
    for text, some in zip(texts, each, strict=True):
        assert some.tolist() == name_features([text])[0].tolist()
        assert len(set(some.tolist())) == len(some) == len(reference_features(text))


@pytest.mark.parametrize(
    ("mention", "expected"),
    [
        ("Powers", "Stefanie Powers"),  # a part
        ("Thomas Alva Edison", "Thomas Edison"),  # more than the name
        ("robertson", "Oscar Robertson"),  # case
        ("Pulaski", "Casimir Pułaski"),  # accents
        ("Nepoleon", "Napoleon"),  # a typo
        ("J. F. Kennedy", "John F. Kennedy"),  # initials
        ("The Rock", "Dwayne Johnson"),  # an alias
        ("Ｅｄｉｓｏｎ", "Thomas Edison"),  # full-width letters
        ("北京", "北京大学"),  # no spaces between words
        ("!!!", "!!!"),  # nothing but punctuation
    ],
)
def test_finds_names_by_parts_and_other_spellings(mention: str, expected: str) -> None:
    names = [
        ["Stefanie Powers"],
        ["Thomas Edison"],
        ["Thomas Jefferson"],
        ["Oscar Robertson"],
        ["Casimir Pułaski"],
        ["Napoleon"],
        ["Neil Young"],
        ["John F. Kennedy"],
        ["Dwayne Johnson", "The Rock", "Rocky"],
        ["北京大学"],
        ["清华大学"],
        ["!!!"],
    ]
    best, _ = found(entities_of(names), mention)[0]
    assert names[int(best[1:])][0] == expected


def test_prefers_the_mention_s_own_spelling_then_the_shorter_name() -> None:
    assert [id for id, _ in found(entities_of([["Désiré"], ["Desire"], ["desire"]]), "Desire")] == [
        "Q1",
        "Q0",
        "Q2",
    ]
    powers = entities_of([["Stefanie Powers"], ["Tim Powers"], ["Powers"]])
    assert [id for id, _ in found(powers, "Powers")] == ["Q2", "Q1", "Q0"]


def test_an_entity_with_many_alike_names_takes_one_place() -> None:
    names = [[f"Jordan {n}" for n in range(50)], ["Jordan Farmar Junior"], ["Katie Jordan Price"]]
    assert sorted(id for id, _ in found(entities_of(names), "Jordan", top=3)) == ["Q0", "Q1", "Q2"]


def test_no_entities_have_no_candidates() -> None:
    assert found([], "Jordan") == []
    assert found([Entity("Q1", "")], "Jordan") == []


def test_ids_of_any_text_come_back(tmp_path: Path) -> None:
    ids = ["Q1", "", "Zürich, 北", "\ud800"]
    index = NameIndex.build(tmp_path / "index", [Entity(id, f"name {n}") for n, id in enumerate(ids)])
    assert index.ids(range(4)) == ids


def test_a_damaged_index_is_written_again(tmp_path: Path) -> None:
    entities = [Entity("Q1", "Ada"), Entity("Q2", "Bob")]
    NameIndex.build(tmp_path / "index", entities)
    file = tmp_path / "index" / "owners.npy"
    file.write_bytes(file.read_bytes()[:-3])
    index = NameIndex.build(tmp_path / "index", entities)
    assert index.ids(index.search("Bob", 1)[0]) == ["Q2"]
