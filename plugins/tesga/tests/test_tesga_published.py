"""What TESGA's authors publish: gold data and predictions without places, and their figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit.data.jmere import ITC_SCORE
from mmkit.data.records import example_from_json, prediction_from_json, to_json
from mmkit.data.strings import STRINGS, Strings, strings
from mmkit.errors import DataError
from mmkit_tesga.published import read_published
from raising import raises

RECORD: dict[str, Any] = {
    "text": "Rafael Nadal engaged to Mery Perello",
    "img_id": "twitter_19.jpg",
    "target_list": [["Rafael Nadal", "couple", "Mery Perello", "per", "per"]],
    "pred_entity": [{"Rafael Nadal": "per"}, {"Mery": "org", "Perello": "loc"}],
    "pred_triple": [["Rafael Nadal", "peer", "Mery"]],
    "itc_score": 0.44,
}


def written(folder: Path, value: Any) -> Path:
    (folder / "x.json").write_text(json.dumps(value), encoding="utf-8")
    return folder / "x.json"


def test_gold_and_predicted_items_are_words_without_places(tmp_path: Path) -> None:
    [(example, prediction), (again, _)] = read_published(written(tmp_path, [RECORD, RECORD]))
    assert (example.id, prediction.id, again.id) == ("twitter_19", "twitter_19", "twitter_19:2")
    assert example.text == RECORD["text"] and example.notes[ITC_SCORE] == 0.44
    assert not (example.spans or example.relations or prediction.spans or prediction.relations)
    gold, found = strings(example, example), strings(example, prediction)
    assert gold.entities == (("Rafael Nadal", "per"), ("Mery Perello", "per"))
    assert gold.relations == (("Rafael Nadal", "couple", "Mery Perello", "per", "per"),)
    assert found.entities == (("Rafael Nadal", "per"), ("Mery", "org"), ("Perello", "loc"))
    assert found.relations == (("Rafael Nadal", "peer", "Mery", None, None),)
    assert list(found.quintuples()) == [("Rafael Nadal", "peer", "Mery", "per", "org")]


def test_strings_are_kept_in_jsonlines(tmp_path: Path) -> None:
    [(example, prediction)] = read_published(written(tmp_path, [RECORD]))
    assert example_from_json(to_json(example)) == example
    assert prediction_from_json(to_json(prediction)) == prediction
    assert Strings.from_note(prediction.notes[STRINGS], "").to_note() == prediction.notes[STRINGS]


@pytest.mark.parametrize(
    ("record", "code", "says"),
    [
        ("x", "json.wrong-type", "`record`"),
        ({"text": "a", "img_id": "a"}, "json.missing-field", "`target_list`"),
        (
            RECORD | {"target_list": [["a", "b", "c"]]},
            "json.wrong-type",
            r"`target_list\[0\]`",
        ),
        (RECORD | {"pred_entity": [["a", "per"]]}, "json.wrong-type", r"`pred_entity\[0\]`"),
        (RECORD | {"pred_entity": [{"a": 1}]}, "json.wrong-type", r"`pred_entity\[0\]\.a`"),
        (RECORD | {"pred_triple": [["a", "b"]]}, "json.wrong-type", r"`pred_triple\[0\]`"),
        (RECORD | {"pred_triple": 3}, "json.wrong-type", "`pred_triple`"),
    ],
)
def test_a_wrong_record_says_file_number_and_reason(
    tmp_path: Path, record: Any, code: str, says: str
) -> None:
    path = written(tmp_path, [RECORD, record])
    with raises(code, match=says) as error:
        list(read_published(path))
    assert error.value.where == f"{path}, record 1"


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=8,
)
NEARLY = st.fixed_dictionaries({}, optional=dict.fromkeys(RECORD, VALUES)).map(
    lambda changes: RECORD | changes
)


@given(
    st.one_of(
        st.binary(max_size=40), (VALUES | st.lists(NEARLY, max_size=2)).map(lambda v: json.dumps(v).encode())
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_any_bytes_are_read_or_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    try:
        pairs = list(read_published(tmp_path / "x.json"))
    except DataError as error:
        assert error.where.startswith(str(tmp_path / "x.json"))
    else:
        assert all(example.id == prediction.id for example, prediction in pairs)
