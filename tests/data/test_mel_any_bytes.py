"""Whatever a file holds, a reader reads it or refuses it with its name, and never anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit.data.kb_json import KbJsonReader
from mmkit.data.kb_jsonl import KbJsonlReader
from mmkit.data.kb_melbench import KbMelbenchReader
from mmkit.data.melbench import RichpediaReader, WikimelReader
from mmkit.data.reader import Reader
from mmkit.data.types import Entity, Example
from mmkit.data.wikidiverse import WikidiverseReader
from mmkit.data.wikiperson import WikipersonReader
from mmkit.errors import DataError

READERS = (
    WikimelReader, RichpediaReader, WikidiverseReader, WikipersonReader, KbJsonReader, KbJsonlReader, KbMelbenchReader,
)  # fmt: skip

KEYS = [
    *("sentence", "mentions", "entities", "answer", "img_list", "imgPath"),
    *("mention", "mention_image", "entity", "cands", "start", "end"),
    *("id", "image", "wikiid", "boundingbox", "name", "description"),
]
VALUES = st.recursive(
    st.none()
    | st.integers(-2, 40)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(
        ["Jordan", "https://en.wikipedia.org/wiki/A_b", "[1, 2, 3, 4]", "\ud800", "x [SEP]. y"]
    ),
    lambda inner: (
        st.lists(inner, max_size=11)
        | st.lists(inner, min_size=4, max_size=5)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=20,
)
SENTENCES = st.fixed_dictionaries(
    {"sentence": st.text(st.sampled_from("Jordan .,'-"), max_size=12)},
    optional=dict.fromkeys(("mentions", "entities", "answer", "img_list", "imgPath"), VALUES),
)
FILES = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda s: s.encode("utf-8", "replace")),
    VALUES.map(lambda v: json.dumps(v).encode()),
    st.dictionaries(st.text(max_size=3), SENTENCES | VALUES, max_size=3).map(
        lambda v: json.dumps(v).encode()
    ),
    st.lists(VALUES, max_size=3).map(lambda v: json.dumps(v).encode()),
)


@pytest.mark.parametrize("reader", READERS)
@given(content=FILES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_any_file_is_read_or_refused_by_name(tmp_path: Path, reader: type[Reader], content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    try:
        records: list[Any] = list(reader(str(tmp_path), "x.json"))
    except DataError as error:
        assert error.where.startswith(str(tmp_path / "x.json"))
    else:
        of_entities = reader.__name__.startswith("Kb")
        assert all(
            isinstance(x, Entity) if of_entities else isinstance(x, Example) and x.entity for x in records
        )


@given(content=FILES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_any_further_file_is_read_or_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kb.json").write_text('{"Q1": "a", "Jordan": null}')
    (tmp_path / "set.json").write_text('{"1": {"sentence": "a", "mentions": "a", "answer": "Q1"}}')
    (tmp_path / "x.json").write_bytes(content)
    for make in (
        lambda: KbJsonReader(str(tmp_path), "kb.json", names="x.json"),
        lambda: KbJsonReader(str(tmp_path), "kb.json", aliases="x.json"),
        lambda: WikimelReader(str(tmp_path), "set.json", candidates="x.json"),
    ):
        try:
            assert list(make())
        except DataError as error:
            assert error.where.startswith(str(tmp_path / "x.json"))
