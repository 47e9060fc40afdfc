"""What a killed process left behind is removed, and what a living one writes is not."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from mmkit.encoders.sampling import make_once
from mmkit.files import MARKER, atomic, written_once
from mmkit.files.temporary import is_temporary, leftovers, remove_leftovers, temporary_file, temporary_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_gone_after_the_block_unless_it_was_renamed(tmp_path: Path) -> None:
    with temporary_file(tmp_path, "a") as temporary:
        assert is_temporary(temporary) and temporary.parent == tmp_path
    assert not names(tmp_path)
    with temporary_file(tmp_path, "a") as temporary:
        temporary.rename(tmp_path / "a")
    with temporary_folder(tmp_path, "b") as temporary:
        (temporary / "within").touch()
        temporary.rename(tmp_path / "b")
    with pytest.raises(KeyError), temporary_folder(tmp_path, "c"):
        raise KeyError
    assert names(tmp_path) == ["a", "b"]


def test_what_is_being_written_is_not_left_over(tmp_path: Path) -> None:
    with temporary_file(tmp_path, "a") as file, temporary_folder(tmp_path, "b") as folder:
        (folder / "within").touch()
        remove_leftovers(tmp_path.iterdir())
        assert file.exists() and (folder / "within").exists()
        file.write_text("it is still the same file")  # as writers do that open it by its name
        remove_leftovers(tmp_path.iterdir())
        assert file.exists()


def test_the_next_to_write_the_same_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    (tmp_path / ".a.abcd1234.tmp").write_text("half")
    (tmp_path / ".a.old.tmp").mkdir()
    (tmp_path / ".a.old.tmp" / "within").touch()
    (tmp_path / ".other.abcd1234.tmp").touch()
    (tmp_path / ".a.txt").touch()
    assert {path.name for path in leftovers(tmp_path, "a")} == {".a.abcd1234.tmp", ".a.old.tmp"}
    with atomic(tmp_path / "a") as file:
        file.write("whole")
    assert names(tmp_path) == [".a.txt", ".other.abcd1234.tmp", "a"]


def test_nothing_is_removed_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / ".a.abcd1234.tmp").touch()
    with atomic(tmp_path / "a") as file:
        file.write("whole")
    assert names(tmp_path) == [".a.abcd1234.tmp", "a"]


def test_links_and_pipes_that_are_called_so_stay(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    (tmp_path / ".a.1.tmp").symlink_to("precious")
    (tmp_path / ".a.2.tmp").symlink_to("nothing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / ".a.3.tmp")
    before = names(tmp_path)
    remove_leftovers(tmp_path.iterdir())
    assert names(tmp_path) == before


def write(folder: Path) -> None:
    (folder / "whole").touch()


def test_samples_that_were_killed_while_they_were_drawn_leave_nothing(tmp_path: Path) -> None:
    for name in ("drawn", "model"):
        (tmp_path / f".{name}.abcd1234.tmp").mkdir()
        (tmp_path / f".{name}.abcd1234.tmp" / "half").touch()
    written_once(tmp_path / "drawn", write)
    make_once(tmp_path / "model", write)
    assert names(tmp_path) == ["drawn", "model"]
    assert names(tmp_path / "drawn") == sorted([MARKER, "whole"]) and names(tmp_path / "model") == ["whole"]
