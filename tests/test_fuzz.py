"""Damaged files of every kind end well or in one message: a few cases of each. `make fuzz` tries more."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzzing import campaign, targets
from fuzzing.campaign import Campaign, rng_of
from fuzzing.mutations import CHANGES, damaged, mutated
from fuzzing.target import Target, run_case
from fuzzing.targets import make
from mmkit.errors import DataError
from timing import in_time

SLOW = ("run/", "index/")
"""What is tried by `make fuzz` alone: making and reading it takes seconds."""
WHOLE = ("recipe/", "reader/mmkit.mnre_joint.v1")
"""Of which a case takes long, so that a few have to do."""
_made: dict[str, Target] = {}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", [name for name in targets.names() if not name.startswith(SLOW)])
def test_damaged_files_end_well_or_in_one_message(name: str, place: Path) -> None:
    target = _made.setdefault(name, make(name, place / name.replace("/", "-")))

    @settings(max_examples=3 if name in WHOLE else 8, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def check(rng: Random) -> None:
        with in_time():
            run_case(target, rng)

    check()


# The harness itself


@given(st.binary(max_size=300), st.randoms(use_true_random=False))
def test_any_bytes_can_be_damaged(content: bytes, rng: Random) -> None:
    assert isinstance(mutated(content, rng), bytes)


def test_every_change_changes_something() -> None:
    content = b'{"a": [1, 2, {"b": "text"}], "c": null}\n{"a": [3]}\n'
    for change in set(CHANGES):
        assert any(change(content, Random(n)) != content for n in range(20)), change


def test_files_are_as_before_afterwards(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.json" for n in range(3)]
    for file in files:
        file.write_text('{"a": 1}')
    ways = set()
    for number in range(300):
        with damaged(tmp_path, files, Random(number)) as told:
            ways.update(way.partition(": ")[2] for way in told)
        assert [file.read_text() for file in files] == ['{"a": 1}'] * 3
    assert ways >= {"bytes", "missing", "folder", "pipe", "device", "loop", "empty", "utf16", "repeated"}


def test_a_damaged_file_is_no_pattern_for_another(tmp_path: Path) -> None:
    """Of two damaged files one may be a pipe or a link to itself: the other one does not read it."""
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text(file.name)
    for seed in range(600):
        with damaged(tmp_path, files, Random(seed)) as told:
            assert told
    assert [file.read_text() for file in files] == ["a", "b"]


def test_a_case_follows_from_its_number(tmp_path: Path) -> None:
    file = tmp_path / "a"
    content = b"one\ntwo\n" * 20
    made = []
    for number in (7, 7, 8):
        file.write_bytes(content)
        with damaged(tmp_path, [file], rng_of("t", number)):
            made.append(file.read_bytes() if file.is_file() else None)
    assert made[0] == made[1] != made[2]


def _reads(outcome: str, folder: Path) -> Target:
    """A target that ends in a certain way."""

    def read() -> None:
        match outcome:
            case "message":
                raise DataError("it is broken", code="data")
            case "traceback":
                raise KeyError("a mistake")
            case "crash":
                import os

                os._exit(9)

    (folder / "file").write_text("text")
    return Target([folder / "file"], read, folder)


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        ("read", ""),
        ("message", ""),
        ("traceback", "KeyError: 'a mistake'"),
        ("crash", "the process died (9)"),
    ],
)
def test_a_campaign_tells_failures_from_messages_and_goes_on(
    outcome: str,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(targets, "names", lambda: ["t/"])
    monkeypatch.setitem(targets.MAKERS, "t", lambda folder, _: _reads(outcome, folder))
    kept = tmp_path / "kept"
    kept.mkdir()
    state = Campaign(kept)
    state.run(tmp_path, deadline=campaign.time.monotonic() + 60, most=3, only="")
    assert [(f["target"], f["number"], f["why"]) for f in state.failures()] == (
        [("t/", n, why) for n in range(3)] if why else []
    )
    assert ("make fuzz CASE=t/:2" in capsys.readouterr().out) is bool(why)
    again = Campaign(kept)
    monkeypatch.setitem(targets.MAKERS, "t", lambda folder, _: _reads("read", folder))
    again.run(tmp_path, deadline=campaign.time.monotonic() + 60, most=2, only="")
    assert again.failures() == [], "what is right now is forgotten"
    assert again.next == {"t/": 5}
    assert sum(again.ended.values()) == 5
    assert "5 cases, 2 of them now" in again.summary()
