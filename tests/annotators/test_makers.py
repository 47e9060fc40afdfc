"""Which models made results: counted, told, and read again from `run.json`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mmkit.annotators.base import MadeBy
from mmkit.annotators.makers import Maker, makers_in, makers_of, told


def test_results_are_counted_by_model_and_build_and_tokens_where_they_are_known() -> None:
    one, other = MadeBy("m", "m-1", "b1", 10, 2), MadeBy("m", "m-1", "b2")
    found = makers_of([one, other, None, one, MadeBy("m", "m-1", "b1", 5)])
    assert found == [Maker("m", "m-1", "b1", 3, 2, 20, 4), Maker("m", "m-1", "b2", 1)]
    assert list(told("here", reversed(found))) == [
        "here: 3 results of m (m-1, b1); 20 tokens asked, 4 answered (for 2 of them)",
        "here: 1 result of m (m-1, b2)",
    ]
    assert str(Maker("m", "m", results=2)) == "2 results of m", "what it is called is said once"
    assert len(list(told("here", [Maker(f"m{i}") for i in range(99)]))) == 6


def test_they_are_read_again_from_a_run() -> None:
    makers = [Maker("m", "\x1b[2J", results=3), Maker("n", results=1, counted=1, prompt_tokens=2)]
    origin = json.loads(json.dumps({"files": [], "made_by": {"a": [maker.to_json() for maker in makers]}}))
    assert makers_in(origin) == {"a": makers}
    assert not any("\x1b" in line for line in told("here", makers))


@pytest.mark.parametrize(
    "origin",
    [
        *({}, None, [], {"made_by": 3}, {"made_by": {"a": 3}}, {"made_by": []}),
        *({"made_by": {"a": [made]}} for made in (None, {}, {"model": 3}, {"results": 3})),
    ],
)
def test_what_is_no_count_in_somebodys_run_is_left_out(origin: Any) -> None:
    assert not any(makers_in(origin).values())


def test_a_count_that_is_none_is_left_out() -> None:
    made = {"model": "m", "told": ["x"], "results": "3", "counted": True, "other": 1}
    assert makers_in({"made_by": {"a": [made]}}) == {"a": [Maker("m")]}
