"""The feature store when files are damaged, a disk is full, or several processes fill it and one is killed."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from mmkit.data.types import Image
from mmkit.encoders import store
from mmkit.encoders.store import prepare
from number_encoder import EXAMPLES, Numbers, assert_same, example, features, shard_files
from raising import raises

pytestmark = pytest.mark.usefixtures("cache")


def test_a_truncated_shard_is_computed_again(cache: Path) -> None:
    prepare(Numbers(), EXAMPLES)
    (shard,) = shard_files(cache)
    shard.write_bytes(shard.read_bytes()[:-7])
    encoder = Numbers()
    report = prepare(encoder, EXAMPLES)
    assert report.damaged == [shard] and shard.name in str(report)
    assert report.computed == 6 and not shard.exists()
    assert_same(features(encoder, EXAMPLES), features(Numbers(), EXAMPLES))


@pytest.mark.parametrize("at", [0, 5, 60, -1, -30])
def test_an_altered_shard_is_computed_again(cache: Path, at: int) -> None:
    prepare(Numbers(), EXAMPLES)
    (shard,) = shard_files(cache)
    data = bytearray(shard.read_bytes())
    data[at] ^= 0x55
    shard.write_bytes(data)
    encoder = Numbers()
    prepare(encoder, EXAMPLES)
    assert_same(features(encoder, EXAMPLES), features(Numbers(), EXAMPLES))


def test_leftovers_of_a_killed_process_are_removed(cache: Path) -> None:
    prepare(Numbers(), EXAMPLES[:1])
    (shard,) = shard_files(cache)
    leftover = shard.with_name(f".{shard.name}.abc.tmp")
    leftover.write_bytes(shard.read_bytes()[:50])
    prepare(Numbers(), EXAMPLES)
    assert not leftover.exists()


def test_an_interruption_loses_nothing_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Numbers()

    def interrupt(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(encoder, EXAMPLES, batch_size=2, progress=interrupt)
    assert prepare(Numbers(), EXAMPLES).computed == 2


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_shard(cache: Path, monkeypatch) -> None:
    monkeypatch.setattr(store, "FLUSH_BYTES", 1)
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 2:  # the first shard and its folder still fit
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with raises("file.unwritable"):
        prepare(Numbers(), EXAMPLES, batch_size=2)
    monkeypatch.undo()
    monkeypatch.setenv("MMKIT_CACHE", str(cache.parent))
    assert len(shard_files(cache)) == 1 and not list(cache.rglob("*.tmp"))
    assert prepare(Numbers(), EXAMPLES).computed == 4


def test_a_store_that_cannot_be_made_is_explained(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / Numbers().fingerprint()).write_text("a file stands here")
    with raises("file.unwritable", match="stands where a folder is needed"):
        prepare(Numbers(), EXAMPLES)


def _prepare_in_a_process(counts: Any) -> None:
    encoder = Numbers()
    slow = encoder.source.load

    def load(raw: Image) -> Tensor:
        time.sleep(0.01)  # so that the processes do meet
        return slow(raw)

    encoder.source.load = load
    counts.put(prepare(encoder, EXAMPLES * 3, batch_size=2).computed)


def test_two_processes_share_the_work(cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    counts = context.Queue()
    processes = [context.Process(target=_prepare_in_a_process, args=(counts,)) for _ in range(2)]
    for process in processes:
        process.start()
    computed = sorted(counts.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    assert computed == [0, 6]


def _prepare_numbers(numbers: range, counts: Any) -> None:
    counts.put(prepare(Numbers(), [example(str(n)) for n in numbers], batch_size=2).computed)


def _ended_at_once(numbers: range, begun: Any) -> None:
    encoder = Numbers()
    load = encoder.source.load

    def last(raw: Image) -> Tensor:
        begun.put(None)
        time.sleep(60)
        return load(raw)

    encoder.source.load = last
    prepare(encoder, [example(str(n)) for n in numbers])


def test_many_processes_fill_one_store_whatever_becomes_of_one(cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    begun, counts = context.Queue(), context.Queue()
    killed = context.Process(target=_ended_at_once, args=(range(24), begun))
    killed.start()
    begun.get(timeout=60)  # it holds the store's lock, and has computed nothing
    parts = [range(12), range(6, 18), range(12, 24), range(24), range(3)]
    processes = [context.Process(target=_prepare_numbers, args=(part, counts)) for part in parts]
    for process in processes:
        process.start()
    killed.kill()
    computed = [counts.get(timeout=60) for _ in processes]
    for process in (*processes, killed):
        process.join(60)
    assert sum(computed) == 25, "each number once, and the blank one of the second slot"
    everything = Numbers()
    assert prepare(everything, [example(str(n)) for n in range(24)]).computed == 0
    found = features(everything, [example("5"), example("23")])
    assert found["fixed"][:, 0].tolist() == [[5.0, 10.0, 15.0], [23.0, 46.0, 69.0]]
    assert not list(cache.rglob("*.tmp"))
