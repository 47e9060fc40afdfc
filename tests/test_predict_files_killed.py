"""Predicting files, killed at any change that it makes, and as a whole with its workers: the same files come out.

Each process imports torch, so this runs only where it is asked for: `make matrix`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from killing import killed_everywhere
from predicting import posts, text_tagger, write_lines, written

pytestmark = pytest.mark.matrix

ANYWHERE = """
import os, pathlib, shutil, sys
import torch
import mmkit
from kills import digests, everywhere, listed
from mmkit.inference.shards import plan, work as parts
from mmkit.inference.shards.files import predict_files

torch.set_num_threads(1)
run, source, out = map(pathlib.Path, sys.argv[1:])
os.environ["MMKIT_CACHE"] = str(out.parent / "cache")
plan.PART, parts.CHUNK, parts.RECORDS = 400, 4, 5

def work():
    predict_files(run, source, out, device="cpu")

def compare():
    "All files to the bit, and no others."
    return digests(out, [name for name in listed(out) if not name.endswith("lock")])

everywhere(work, lambda: shutil.rmtree(out, ignore_errors=True), out, compare)
"""

WITH_WORKERS = """
import os, signal, sys
from mmkit.hooks import hookimpl
from mmkit.inference.shards import plan
from mmkit.inference.shards.files import predict_files

plan.PART = 400
run, source, out, moment = sys.argv[1:]

class Kills:
    told = 0
    @hookimpl
    def mmkit_progress(self):
        self.told += 1
        if self.told == int(moment):
            os.kill(os.getpid(), signal.{signal})

done = predict_files(run, source, out, workers=2, device="cpu", hooks=[Kills()])
print(done.computed)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_tagger(tmp_path_factory.mktemp("tagger"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_lines(tmp_path / "in/a.jsonl", [*posts(30), "{broken"])
    write_lines(tmp_path / "in/b/a.jsonl", posts(9))
    return tmp_path / "in"


def test_killed_at_any_change_it_goes_on(run, source, tmp_path):
    found = killed_everywhere(ANYWHERE, run, source, tmp_path / "out")
    assert found["killed"] > 5 and {"rename", "open"} <= found["kinds"].keys()


def with_workers(
    run: Path, source: Path, out: Path, moment: int, signal: str
) -> subprocess.CompletedProcess[str]:
    """Predict with two workers; the first process gets the signal when it tells of progress for the `moment`-th time.

    It ends when all that hold its standard error have ended: the workers too.
    """
    script = WITH_WORKERS.replace("{signal}", signal)
    command = [sys.executable, "-c", script, *map(str, (run, source, out, moment))]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("moment", [1, 5])
def test_killed_as_a_whole_it_goes_on(run, source, tmp_path, moment):
    whole = with_workers(run, source, tmp_path / "whole", 0, "SIGKILL")
    assert whole.returncode == 0 and whole.stdout == "40\n", whole.stderr
    killed = with_workers(run, source, tmp_path / "out", moment, "SIGKILL")
    assert killed.returncode == -9, killed.stderr
    again = with_workers(run, source, tmp_path / "out", 0, "SIGKILL")
    assert again.returncode == 0, again.stderr
    assert written(tmp_path / "out") == written(tmp_path / "whole")


def test_ctrl_c_ends_all_promptly(run, source, tmp_path):
    stopped = with_workers(run, source, tmp_path / "out", 2, "SIGINT")
    assert stopped.returncode == 1 and "the same command goes on" in stopped.stderr
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith(".tmp")]
