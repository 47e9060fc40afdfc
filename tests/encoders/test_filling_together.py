"""Several processes fill one store: each item is computed once, and nobody waits while there is something to do."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmkit.data.types import Example, Image
from mmkit.encoders import store
from mmkit.encoders.shards import RANGES, Shards, range_of
from mmkit.encoders.store import prepare
from number_encoder import Numbers, example

pytestmark = pytest.mark.usefixtures("cache")

COUNT = 48
SECONDS = 60
FORKED = multiprocessing.get_context("fork")


def examples(count: int = COUNT) -> list[Example]:
    return [example(str(i)) for i in range(count)]


def groups() -> list[list[str]]:
    """The keys that processes share, in groups; with batches of one."""
    return [keys for _, keys in store._groups([f"key of {i}" for i in range(COUNT)], 1)]


def assert_all_there(encoder: Numbers) -> None:
    found = encoder(encoder.collate(examples(), [{}] * COUNT))
    assert found["fixed"][:, 0].tolist() == [[i, 2.0 * i, 3.0 * i] for i in range(COUNT)]
    assert prepare(Numbers(slots=1), examples()).computed == 0


def _held_up(begun: Any, go_on: Any, counts: Any) -> None:
    """Fill the store, but do not load anything before the others have done what they can."""
    encoder = Numbers(slots=1)
    load = encoder.source.load

    def held(raw: Image) -> Tensor:
        begun.set()
        assert go_on.wait(SECONDS)
        return load(raw)

    encoder.source.load = held  # type: ignore[method-assign]
    seen: list[tuple[int, int]] = []
    report = prepare(encoder, examples(), batch_size=1, progress=lambda *now: seen.append(now))
    counts.put((report.computed, seen[-1]))


def test_others_compute_what_a_slow_process_has_not_taken() -> None:
    first, *others = groups()
    assert len(others) == 7 and first
    begun, go_on, counts = FORKED.Event(), FORKED.Event(), FORKED.Queue()
    slow = FORKED.Process(target=_held_up, args=(begun, go_on, counts))
    slow.start()
    assert begun.wait(SECONDS)  # it has the first group

    def watch(done: int, total: int) -> None:
        assert total == COUNT
        if done == COUNT - len(first):
            go_on.set()

    encoder = Numbers(slots=1)
    report = prepare(encoder, examples(), batch_size=1, progress=watch)
    assert counts.get(timeout=SECONDS) == (len(first), (COUNT, COUNT)), (
        "progress ends though others did the rest"
    )
    slow.join(SECONDS)
    assert report.computed == sum(map(len, others)) == COUNT - len(first)
    assert_all_there(encoder)


def _stopped_after_two(begun: Any) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            begun.set()
            FORKED.Event().wait()  # for ever

    prepare(Numbers(slots=1), examples(), batch_size=1, progress=stop)


def test_of_a_killed_process_only_what_it_had_not_written_is_computed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "FLUSH_BYTES", 1)
    first = groups()[0]
    assert len(first) > 2
    begun = FORKED.Event()
    killed = FORKED.Process(target=_stopped_after_two, args=(begun,))
    killed.start()
    assert begun.wait(SECONDS)

    def watch(done: int, total: int) -> None:
        assert total == COUNT - 2
        if done == total - (len(first) - 2):
            killed.kill()
            killed.join(SECONDS)

    encoder = Numbers(slots=1)
    report = prepare(encoder, examples(), batch_size=1, progress=watch)
    assert not killed.is_alive() and report.computed == COUNT - 2
    assert_all_there(encoder)
    keys = [key for shard in Shards(next(cache.iterdir())).shards for key in shard.keys]
    assert sorted(keys) == sorted(f"key of {i}" for i in range(COUNT)), "each once"


@given(st.lists(st.text(max_size=5), unique=True, max_size=300), st.integers(1, 40), st.randoms())
def test_groups_are_the_same_in_every_process(keys: list[str], size: int, mixed: random.Random) -> None:
    found = store._groups(keys, size)
    shuffled = list(keys)
    mixed.shuffle(shuffled)
    again = store._groups(shuffled, size)
    assert [(some, set(group)) for some, group in found] == [(some, set(group)) for some, group in again]
    assert [number for some, _ in found for number in some] == list(range(RANGES))
    assert sorted(key for _, group in found for key in group) == sorted(keys)
    assert all(range_of(key) in some for some, group in found for key in group)
    assert len(found) == 1 or len(keys) >= store.BATCHES * size * len(found)
