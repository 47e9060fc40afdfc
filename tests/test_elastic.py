"""Errors under torchrun: one message for all processes, at the end of what is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmkit.cli import main
from mmkit.terminal.elastic import ERROR_FILE, hand_over, is_main


def as_process(folder: Path, rank: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As torchrun starts a process: the file that it is given."""
    file = folder / "attempt_0" / str(rank) / "error.json"
    file.parent.mkdir(parents=True)
    monkeypatch.setenv(ERROR_FILE, str(file))
    monkeypatch.setenv("RANK", str(rank))
    return file


def told(file: Path) -> tuple[str, int]:
    message = json.loads(file.read_text(encoding="utf-8"))["message"]
    assert message["message"] == message["extraInfo"]["py_callstack"]
    return message["message"], int(message["extraInfo"]["timestamp"])


def test_of_equal_errors_one_is_told_and_is_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for rank in (1, 0, 2):
        files.append(as_process(tmp_path, rank, monkeypatch))
        assert hand_over("error: no such file" if rank < 2 else "error: another one")
    (first, at), (second, later), (other, _) = map(told, files)
    assert first == "error: no such file" and second != first and at < later
    assert other == "error: another one"


def test_without_torchrun_nothing_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ERROR_FILE, raising=False)
    monkeypatch.delenv("RANK", raising=False)
    assert not hand_over("error") and is_main()
    monkeypatch.setenv(ERROR_FILE, str(tmp_path / "nowhere" / "0" / "error.json"))
    assert not hand_over("error"), "where the file cannot be written, the process says it itself"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["train", "no_such_recipe"], 2), (["train"], 2), (["evaluate", "no/such/run"], 2)],
)
def test_the_command_keeps_its_exit_code(
    arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = CliRunner().invoke(main, arguments)
    file = as_process(tmp_path, 0, monkeypatch)
    done = CliRunner().invoke(main, arguments)
    assert alone.exit_code == done.exit_code == code
    assert alone.stderr and not done.stderr
    assert "rror: " in told(file)[0]


@pytest.mark.slow
def test_torchrun_ends_with_the_message(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launcher, "-m", "mmkit", "train", "no_such_recipe", "--output", str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    said = [
        i for i, line in enumerate(done.stderr.splitlines()) if "no_such_recipe" in line and "rror:" in line
    ]
    assert len(said) == 1, done.stderr
    assert len(done.stderr.splitlines()) - said[0] < 6, "it stands at the end"
    root = done.stderr.partition("Root Cause")[2]
    assert "no_such_recipe" in root
    assert "exitcode  : 2" in done.stderr, "torchrun may end the other process before it exits by itself"
