"""Where output goes: files whole or not at all, links followed, devices and pipes written into."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmkit.files import atomic, write_json
from raising import raises

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")


def write(path: Path, text: str) -> None:
    with atomic(path) as file:
        file.write(text)


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("elsewhere/real.json")
    write(tmp_path / "link.json", "new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "elsewhere" / "real.json").read_text() == "new"
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_a_link_to_nothing_makes_the_file_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("later.json")
    write(tmp_path / "link.json", "new")
    assert (tmp_path / "later.json").read_text() == "new" and (tmp_path / "link.json").is_symlink()


def test_a_block_that_fails_leaves_the_linked_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(KeyError), atomic(tmp_path / "link") as file:
        file.write("half")
        raise KeyError
    assert (tmp_path / "real").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


@needs_pipes
def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write(pipe, "all of it")
    reader.join(30)
    assert read == ["all of it"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_stays_a_device() -> None:
    before = Path("/dev/null").stat()
    write_json(Path("/dev/null"), {"a": 1})
    assert Path("/dev/null").stat().st_rdev == before.st_rdev


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with raises("file.unwritable", match="folder"):
        write(tmp_path, "x")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_standard_output_is_a_message() -> None:
    command = [sys.executable, "-m", "mmkit", "list-components", "--json"]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 2
    assert "standard output: cannot write: the disk is full" in result.stderr
    assert "Traceback" not in result.stderr and "Exception ignored" not in result.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m mmkit list-components --json | head -c 1; echo ${{PIPESTATUS[0]}} >&2"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert result.stdout == "["
    assert result.stderr.strip() in ("0", "141")


TERMINATED = """
import os, signal, sys
from pathlib import Path
import click
from mmkit.cli import main
from mmkit.files import atomic

@main.command("halfway")
def halfway():
    with atomic(Path(sys.argv[1]) / "found.jsonl") as file:
        file.write("half")
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

main(["halfway"])
"""


@pytest.mark.skipif(not hasattr(signal, "pause"), reason="needs POSIX signals")
def test_a_command_that_is_terminated_leaves_no_temporary_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TERMINATED, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (128 + signal.SIGTERM, "stopped by SIGTERM\n")
    assert not list(tmp_path.iterdir())
