"""Folders in the cache: written whole, by one process, and again where they are damaged."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mmkit.files import explained, is_undamaged, kept
from raising import raises


def test_what_is_kept_is_written_once_and_again_if_damaged(tmp_path):
    written = []

    def write(folder):
        written.append(folder)
        (folder / "a.txt").write_text("contents", encoding="utf-8")

    for _ in range(2):
        assert (kept(tmp_path / "thing", write) / "a.txt").read_text(encoding="utf-8") == "contents"
    assert len(written) == 1
    for damage in (lambda f: f.write_text("cOntents"), lambda f: f.write_bytes(b""), lambda f: f.unlink()):
        damage(tmp_path / "thing/a.txt")
        assert not is_undamaged(tmp_path / "thing")
        assert (kept(tmp_path / "thing", write) / "a.txt").read_text(encoding="utf-8") == "contents"
    assert len(written) == 4


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / ".thing.abc").mkdir()
    (tmp_path / ".thing.abc/half").touch()
    kept(tmp_path / "thing", lambda folder: (folder / "whole").touch())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thing", "thing.lock"]


def test_what_is_kept_can_be_read_where_nothing_can_be_written(tmp_path, monkeypatch):
    kept(tmp_path / "thing", lambda folder: (folder / "a.txt").touch())

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mmkit.files.FileLock", refuse)
    kept(tmp_path / "thing", lambda folder: None)
    with raises("file.unwritable", match="permission denied"):
        kept(tmp_path / "other", lambda folder: None)


@pytest.mark.parametrize(
    ("number", "what", "hint"),
    [
        (28, "the disk is full", "free some space"),
        (122, "the disk quota", "free some"),
        (27, "the file is larger than", "ulimit -f"),
    ],
)
def test_what_safetensors_says_of_a_disk_that_refuses_is_understood(
    number: int, what: str, hint: str
) -> None:
    said = OSError(errno.EIO, f"Error while serializing: I/O error: it says so (os error {number})")
    with raises("file.unwritable", match=f"model: cannot write: {what}") as refused, explained(Path("model")):
        raise said
    assert hint in refused.value.hint
