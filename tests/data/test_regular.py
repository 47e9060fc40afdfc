"""Devices and named pipes are not read; what the shell opened is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mmkit import registry
from mmkit.data.file_kinds import looks_like
from mmkit.data.fingerprints import file_sha256
from mmkit.data.images import content_key
from mmkit.data.lines import numbered_lines
from mmkit.data.regular import open_regular
from mmkit.data.types import Image
from mmkit.errors import DataError
from raising import raises
from timing import in_time


@pytest.fixture(params=["pipe", "device", "link", "folder"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What is no file, and of which reading may never end."""
    path = tmp_path / "odd"
    match request.param:
        case "pipe":
            os.mkfifo(path)
        case "device":
            return Path("/dev/zero")
        case "link":
            path.symlink_to("/dev/zero")
        case _:
            path.mkdir()
    return path


READERS: list[Callable[[Path], object]] = [
    lambda path: list(numbered_lines(path)),
    file_sha256,
    lambda path: content_key(Image(str(path))),
]


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_file_is_refused_at_once(odd: Path, read: Callable[[Path], object]) -> None:
    with in_time(5), pytest.raises(DataError, match=r"pipe|device|directory|a folder"):
        read(odd)


def test_what_is_no_file_looks_like_nothing(odd: Path) -> None:
    with in_time(5):
        assert looks_like(odd) is None


@pytest.mark.parametrize("name", sorted(registry.readers.names()))
def test_no_reader_waits_for_a_pipe(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = registry.build_part("readers", name, {"root": str(tmp_path), "file": "pipe"})
    with in_time(5), pytest.raises(DataError):
        list(reader)


def test_a_pipe_that_is_open_is_read() -> None:
    """As in `mmkit score <(zcat gold.gz) found`, and with `/dev/stdin`."""
    out, into = os.pipe()
    os.write(into, b"one\ntwo\n")
    os.close(into)
    try:
        with in_time(5):
            assert list(numbered_lines(Path(f"/dev/fd/{out}"))) == [(1, "one"), (2, "two")]
    finally:
        os.close(out)


def test_a_file_is_read_and_one_that_is_missing_is_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"text")
    with open_regular(path) as file:
        assert file.read() == b"text"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "missing")
    with raises("file.missing"):
        list(numbered_lines(tmp_path / "missing"))
