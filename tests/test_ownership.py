"""What another user may have written is not read from a cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmkit.annotators.store import ResultStore
from mmkit.cache import cache_dir
from mmkit.encoders.shards import Shards
from mmkit.files import kept, ownership, written_once
from mmkit.files.ownership import check_own, check_tree, make_own
from raising import raises

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs POSIX users")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others can enter, as are those around it."""
    folder = Path(tempfile.mkdtemp(dir=tempfile.gettempdir()))
    folder.chmod(0o755)
    if ownership._is_closed(folder):
        pytest.skip("the folder for temporary files is closed to others")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def cache(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMKIT_CACHE", str(open_folder / "cache"))
    monkeypatch.delenv(ownership.TRUST, raising=False)
    (open_folder / "cache").mkdir(mode=0o755)
    return open_folder / "cache"


def owned_by_another(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """As it looks to this user when somebody else, who is not root, made a file."""
    os.chown(path, 4242, -1) if os.getuid() == 0 else monkeypatch.setattr(os, "getuid", lambda: 4242)


@pytest.mark.parametrize("mode", [0o777, 0o733, 0o757])
def test_a_cache_that_everybody_may_write_to_is_refused(mode: int, cache: Path) -> None:
    cache.chmod(mode)
    with raises("cache.foreign", match="everybody may write to it") as caught:
        cache_dir("features")
    assert caught.value.where == str(cache)
    assert f"chmod 700 {cache}" in caught.value.hint and "MMKIT_SHARED_CACHE=1" in caught.value.hint


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750, 0o1777])
def test_a_cache_in_which_no_one_can_change_anothers_files_is_used(mode: int, cache: Path) -> None:
    cache.chmod(mode)
    assert cache_dir("features").is_dir()


def test_a_group_that_may_write_is_another_user_unless_it_is_ones_own(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.chmod(0o775)
    monkeypatch.setattr(ownership, "_is_own_group", lambda group: True)
    cache_dir("features")
    monkeypatch.setattr(ownership, "_is_own_group", lambda group: False)
    with raises("cache.foreign", match="its group may write to it"):
        cache_dir("features")


def test_what_another_user_made_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.chmod(0o1777)
    (cache / "features").mkdir(mode=0o755)
    owned_by_another(monkeypatch, cache / "features")
    with raises("cache.foreign", match="it belongs to the user 4242|it belongs to"):
        cache_dir("features")


def test_whoever_trusts_the_others_may_say_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.chmod(0o777)
    monkeypatch.setenv(ownership.TRUST, "1")
    assert cache_dir("features").is_dir()
    monkeypatch.setenv(ownership.TRUST, "0")
    with raises("cache.foreign"):
        cache_dir("features")


def test_a_new_cache_lets_no_one_else_in(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(open_folder / "new" / "cache"))
    before = os.umask(0)
    try:
        folder = cache_dir("features")
        (folder / "x").touch()
    finally:
        os.umask(before)
    assert (open_folder / "new").stat().st_mode & 0o777 == 0o700
    check_own([folder, folder / "x"])


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_own(tmp_path / "file")


def test_a_link_is_judged_by_what_it_leads_to(cache: Path, open_folder: Path) -> None:
    (open_folder / "elsewhere").mkdir()
    (open_folder / "elsewhere").chmod(0o777)
    (cache / "features").symlink_to(open_folder / "elsewhere")
    with raises("cache.foreign"):
        cache_dir("features")


def test_a_file_within_a_closed_folder_may_have_any_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o666)
    check_own([tmp_path / "file", tmp_path / "not there"])


def test_stores_refuse_files_that_others_may_write(cache: Path) -> None:
    for kind in ("features", "annotations"):
        cache_dir(kind).chmod(0o755)
    folder = cache_dir("features") / "of one"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(b"")
    assert Shards(folder).damaged
    (folder / "a.safetensors").chmod(0o666)
    with raises("cache.foreign", match="everybody"):
        Shards(folder)
    ResultStore.of("fingerprint").close()
    (store,) = cache_dir("annotations").iterdir()
    store.chmod(0o666)
    with raises("cache.foreign"):
        ResultStore.of("fingerprint")


@pytest.mark.parametrize("make", [written_once, kept])
def test_folders_that_are_kept_are_refused_where_others_may_write_in_them(make, cache: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "a.txt").write_text("a")
        (folder / "a.txt").chmod(0o644)

    assert make(cache / "thing", write) == make(cache / "thing", write)
    check_tree(cache / "thing")
    (cache / "thing" / "a.txt").chmod(0o666)
    with raises("cache.foreign"):
        make(cache / "thing", write)
