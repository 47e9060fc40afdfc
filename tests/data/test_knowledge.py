"""A knowledge base on disk is the sequence of entities it was written from."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Image
from raising import raises

TEXT = st.text(max_size=20)
ENTITIES = st.lists(
    st.builds(
        Entity,
        id=TEXT,
        name=TEXT,
        aliases=st.lists(TEXT, max_size=2).map(tuple),
        description=TEXT,
        images=st.sampled_from([(), (Image("a.jpg"), Image(None, "object"))]),
        notes=st.dictionaries(TEXT, st.integers() | TEXT, max_size=2),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda entity: entity.id,
)


def base_of(entities, folder):
    return KnowledgeBase.build(folder / "base", entities)


@settings(max_examples=60, deadline=None)
@given(ENTITIES)
def test_it_is_the_sequence_it_was_written_from(entities):
    with tempfile.TemporaryDirectory() as folder:
        base = base_of(entities, Path(folder))
        ids = [entity.id for entity in entities]
        assert list(base) == entities
        assert [base[i] for i in range(len(base))] == entities
        assert [base[i] for i in range(-len(base), 0)] == entities
        assert base[1:] == entities[1:] and base[::-1] == entities[::-1]
        assert base.ids(range(len(base))) == ids
        assert base.rows(ids).tolist() == list(range(len(ids)))
        assert all(id in base for id in ids) and all(entity in base for entity in entities)


def test_an_unknown_id_has_no_row(tmp_path):
    base = base_of([Entity("Q1", "one"), Entity("Q2", "two")], tmp_path)
    assert base.rows(["Q2", "Q3", "", "Q1"]).tolist() == [1, -1, -1, 0]
    assert "Q3" not in base
    with pytest.raises(IndexError):
        base[2]


def test_two_entities_with_one_id_are_refused_and_nothing_is_left(tmp_path):
    with raises("knowledge.duplicate-id", match="1 entity has the id of another one: .Q1."):
        base_of([Entity("Q1", "a"), Entity("Q2", "b"), Entity("Q1", "c")], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["base.lock"]


def test_an_empty_one_is_refused(tmp_path):
    with raises("knowledge.no-entity"):
        base_of([], tmp_path)


def test_it_is_written_once(tmp_path):
    first = base_of([Entity("Q1", "one")], tmp_path)
    again = KnowledgeBase.build(tmp_path / "base", iter(()))  # would be refused if it were read
    assert list(again) == list(first) and again.fingerprint == first.fingerprint


def test_the_fingerprint_follows_the_contents(tmp_path):
    entities = [Entity("Q1", "one"), Entity("Q2", "two")]
    one, other = base_of(entities, tmp_path / "a"), base_of(entities[::-1], tmp_path / "b")
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == base_of(entities, tmp_path / "c").fingerprint


@pytest.mark.parametrize("name", ["entities.jsonl", "ids.txt", "hashes.npy", "facts.json"])
def test_a_damaged_one_is_an_error_that_names_it(tmp_path, name):
    base_of([Entity("Q1", "one"), Entity("Q2", "two")], tmp_path)
    file = tmp_path / "base" / name
    file.write_bytes(file.read_bytes()[:-5])
    with raises("knowledge.damaged") as caught:
        KnowledgeBase(tmp_path / "base")
    assert "base" in str(caught.value)


@pytest.mark.parametrize("name", ["entities.jsonl", "ids.txt", "hashes.npy", "rows.npy", "facts.json"])
def test_a_damaged_one_is_written_again(tmp_path, name):
    entities = [Entity("Q1", "one"), Entity("Q2", "two")]
    base_of(entities, tmp_path)
    file = tmp_path / "base" / name
    file.write_bytes(bytes(255 - byte for byte in file.read_bytes()))
    base = base_of(entities, tmp_path)
    assert list(base) == entities and base.rows(["Q2", "Q1"]).tolist() == [1, 0]


def test_it_travels_to_another_process(tmp_path):
    base = base_of([Entity("Q1", "one"), Entity("Q2", "two")], tmp_path)
    assert base[1].id == "Q2"
    assert list(pickle.loads(pickle.dumps(base))) == list(base)


def test_many_rows_are_found(tmp_path):
    base = base_of((Entity(f"Q{i}", f"name {i}") for i in range(5000)), tmp_path)
    wanted = np.random.default_rng(0).permutation(5000)[:300]
    assert np.array_equal(base.rows(f"Q{i}" for i in wanted), wanted)
