"""Shards of stored features give back what was put into them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit.encoders import store
from mmkit.encoders.shards import Shards
from mmkit.encoders.stored import ranges
from timing import in_time

# Properties


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shards=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=4),
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=24, max_size=24, unique=True),
    data=st.data(),
)
def test_shards_give_back_what_was_put_in(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[int]], names: list[str], data: st.DataObject
) -> None:
    folder, remaining, expected = tmp_path_factory.mktemp("shards"), iter(names), {}
    written = Shards(folder)
    for lengths in shards:
        keys = [next(remaining) for _ in lengths]
        values = torch.randn(sum(lengths), 2)
        written.append(keys, {"values": values, "lengths": torch.tensor(lengths)})
        expected |= dict(zip(keys, values.split(lengths), strict=True))
    stored = store.StoredFeatures(Shards(folder), "", frozenset({"values"}))
    batch = data.draw(st.lists(st.sampled_from(list(expected)), min_size=1, max_size=8))
    stored.add({key: [(key, True)] for key in batch})
    for placed in (False, True):
        assert not placed or stored.place("cpu", 1e9)
        found = stored.gather(stored.collate(batch))
        for row, key in enumerate(batch):
            values, length = found["values"][row, 0], int(found["lengths"][row, 0])
            assert torch.equal(values[:length], expected[key]) and not values[length:].any()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5))))
def test_ranges_are_the_ranges_one_after_the_other(pairs: list[tuple[int, int]]) -> None:
    starts, lengths = (np.array([p[i] for p in pairs], dtype=np.int64) for i in (0, 1))
    assert ranges(starts, lengths).tolist() == [n for s, k in pairs for n in range(s, s + k)]


def test_a_pipe_in_place_of_a_shard_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    with in_time(5):
        opened = Shards(tmp_path)
    assert opened.damaged == [tmp_path / "a.safetensors"]
    assert opened.where == {}


def test_a_link_to_itself_in_place_of_a_shard_is_damage(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").symlink_to(tmp_path / "a.safetensors")
    assert Shards(tmp_path).damaged == [tmp_path / "a.safetensors"]
