"""Annotators: computed once, stored at once, shared, and resumed after a crash."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmkit.annotators.base import Annotator, Failed
from mmkit.annotators.run import annotate, refuse
from mmkit.annotators.store import ResultStore
from mmkit.data.types import Example
from mmkit.errors import MMKitError
from raising import raises


class Shout(Annotator):
    """Notes the text in capitals; writes a line to `log` for every text it works on."""

    batch_size = 2

    def __init__(self, log: Path, version: str = "1", fail_on: str = "", kill_on: str = "") -> None:
        self.log, self.version, self.fail_on, self.kill_on = log, version, fail_on, kill_on
        self.prepared = self.finished = 0

    def fingerprint(self) -> str:
        return f"shout {self.version}"

    def key(self, x: Example) -> str:
        return x.text

    def prepare(self, device: str) -> None:
        self.prepared += 1

    def annotate(self, batch: Sequence[Example]) -> list[str]:
        for x in batch:
            if x.text == self.fail_on:
                raise MMKitError("the model cannot read this")
            if x.text == self.kill_on:
                os.kill(os.getpid(), signal.SIGKILL)
            with self.log.open("a") as file:
                file.write(x.text + "\n")
        return [x.text.upper() for x in batch]

    def apply(self, x: Example, result: Any) -> Example:
        return replace(x, notes={**x.notes, "shout": result})

    def finish(self) -> None:
        self.finished += 1

    def worked_on(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def examples(*texts: str) -> list[Example]:
    return [Example.from_tokens(f"{i}", [text]) for i, text in enumerate(texts)]


def notes(annotated: Sequence[Example]) -> list[str]:
    return [x.notes["shout"] for x in annotated]


def test_computes_each_distinct_key_once_and_keeps_the_order(tmp_path: Path) -> None:
    shout = Shout(tmp_path / "log")
    assert notes(annotate(shout, examples("b", "a", "b", "c"))) == ["B", "A", "B", "C"]
    assert sorted(shout.worked_on()) == ["a", "b", "c"]


def test_stored_results_need_no_model(tmp_path: Path) -> None:
    annotate(Shout(tmp_path / "log"), examples("a", "b"))
    again = Shout(tmp_path / "log")
    assert notes(annotate(again, examples("b", "a"))) == ["B", "A"]
    assert again.prepared == 0
    assert again.finished == 1
    assert again.worked_on() == ["a", "b"]


def test_other_settings_have_a_store_of_their_own(tmp_path: Path) -> None:
    annotate(Shout(tmp_path / "log"), examples("a"))
    annotate(Shout(tmp_path / "log", version="2"), examples("a"))
    assert Shout(tmp_path / "log").worked_on() == ["a", "a"]


def test_an_error_keeps_what_was_computed_before(tmp_path: Path) -> None:
    with pytest.raises(MMKitError, match="cannot read"):
        annotate(Shout(tmp_path / "log", fail_on="c"), examples("a", "b", "c"))
    annotate(Shout(tmp_path / "log"), examples("a", "b", "c"))
    assert Shout(tmp_path / "log").worked_on() == ["a", "b", "c"]


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    killed = _start(Shout(tmp_path / "log", kill_on="e"), examples("a", "b", "c", "d", "e"))
    killed.join(30)
    assert killed.exitcode == -signal.SIGKILL
    assert notes(annotate(Shout(tmp_path / "log"), examples("a", "b", "c", "d", "e"))) == list("ABCDE")
    assert Shout(tmp_path / "log").worked_on() == list("abcde")


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    texts = [f"t{i}" for i in range(20)]
    workers = [_start(Shout(tmp_path / "log"), examples(*texts)) for _ in range(2)]
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert sorted(Shout(tmp_path / "log").worked_on()) == sorted(texts)


def test_reports_progress_up_to_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    annotate(Shout(tmp_path / "log"), examples("a"))
    annotate(
        Shout(tmp_path / "log"),
        examples("a", "b", "c", "d"),
        progress=lambda done, all: seen.append((done, all)),
    )
    assert seen == [(1, 4), (3, 4), (4, 4)]


def test_an_annotator_that_loses_results_is_named(tmp_path: Path) -> None:
    class Lossy(Shout):
        def annotate(self, batch: Sequence[Example]) -> list[str]:
            return super().annotate(batch)[1:]

    with raises("annotator.result-count", match="Lossy returned 1 results for 2"):
        annotate(Lossy(tmp_path / "log"), examples("a", "b"))


class Unsure(Shout):
    """Has no result for texts that contain `x`, as long as `fails`."""

    fails = True

    def annotate(self, batch: Sequence[Example]) -> list[Any]:
        shouted = super().annotate(batch)
        return [Failed("no voice") if self.fails and "X" in text else text for text in shouted]


def test_a_failed_result_is_named_when_the_others_are_stored(tmp_path: Path) -> None:
    unsure = Unsure(tmp_path / "log")
    with raises(
        "annotator.records-failed",
        match=r"2 records .*\n  1: no voice\n  3: no voice\n",
    ):
        annotate(unsure, examples("a", "x", "b", "x", "c"))
    assert unsure.failures == {"1": "no voice", "3": "no voice"}
    again = Unsure(tmp_path / "log")
    again.fails = False
    assert notes(annotate(again, examples("a", "x", "b", "x", "c"))) == list("AXBXC")
    assert sorted(again.worked_on()) == ["a", "b", "c", "x", "x"], "only what failed is tried again"
    assert again.failures == {}


def test_an_annotator_that_keeps_going_passes_over_failures(tmp_path: Path) -> None:
    unsure = Unsure(tmp_path / "log")
    unsure.keep_going = True
    given = examples("a", "x", "b")
    annotated = annotate(unsure, given)
    assert annotated[1] == given[1]
    assert notes([annotated[0], annotated[2]]) == ["A", "B"]
    assert unsure.failures == {"1": "no voice"}
    assert unsure.finished == 1


def test_a_failure_counts_as_progress(tmp_path: Path) -> None:
    unsure = Unsure(tmp_path / "log")
    unsure.keep_going = True
    seen: list[tuple[int, int]] = []
    annotate(unsure, examples("a", "x", "b"), progress=lambda done, all: seen.append((done, all)))
    assert seen == [(0, 3), (2, 3), (3, 3)]


def test_many_failures_are_counted_and_the_first_are_named() -> None:
    with raises(
        "annotator.records-failed", match=r"12 records (.|\n)*\n  Q9: gone\n  and 2 more of this kind\n"
    ):
        refuse({f"Q{i}": "gone" for i in range(12)})
    refuse({})


def test_an_empty_key_leaves_a_record_as_it_is(tmp_path: Path) -> None:
    shout, silence = Shout(tmp_path / "log"), Example("e", "", (), ())
    assert annotate(shout, [silence]) == [silence]
    assert shout.prepared == 0
    assert not (tmp_path / "cache").exists(), "where nothing is wanted, no store is needed"
    with_words = annotate(shout, [silence, *examples("a")])
    assert with_words[0] == silence
    assert notes(with_words[1:]) == ["A"]
    assert shout.worked_on() == ["a"]


def test_the_store_reads_many_keys_and_keeps_the_first_result(tmp_path: Path) -> None:
    with ResultStore(tmp_path / "s.sqlite") as store:
        store.put({f"k{i}": [i, "é"] for i in range(1200)})
        store.put({"k0": "later"})
        found = store.get([f"k{i}" for i in range(1300)])
        assert len(found) == len(store) == 1200
        assert found["k0"] == [0, "é"]


def test_a_damaged_store_says_so(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_bytes(b"not a database at all" * 100)
    with raises("annotator.store-unusable", match=r"s\.sqlite"):
        ResultStore(tmp_path / "s.sqlite")


def _start(annotator: Annotator, records: list[Example]) -> Any:
    process = multiprocessing.get_context("fork").Process(target=annotate, args=(annotator, records))
    process.start()
    return process


def test_a_result_that_was_altered_on_disk_is_a_users_error(tmp_path: Path) -> None:
    with ResultStore(tmp_path / "results.sqlite") as store:
        store.put({"key": ["Q1", "Q2"]})
    file = tmp_path / "results.sqlite"
    file.write_bytes(file.read_bytes().replace(b'["Q1"', b'x"Q1"'))
    with ResultStore(file) as store, raises("annotator.store-unusable", match="delete it"):
        store.get(["key"])
