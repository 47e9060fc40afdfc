"""Files that are written completely or not at all, and errors for disks that refuse."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from mmkit.errors import DataError, MMKitError, RunError
from mmkit.files.ownership import check_tree
from mmkit.files.temporary import temporary_file, temporary_folder

_ADVICE = {
    errno.ENOSPC: ("the disk is full", "free some space, or name another folder"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or name another folder"),
    errno.EFBIG: (
        "the file is larger than this account or file system allows",
        "raise the limit (ulimit -f)",
    ),
    errno.EROFS: ("the file system is read-only", "name a folder you may write to"),
    errno.EACCES: ("permission denied", "name a folder you may write to"),
    errno.EPERM: ("permission denied", "name a folder you may write to"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "name another folder"),
    errno.ENOENT: ("its folder does not exist and cannot be made", "name a folder you may write to"),
    errno.EEXIST: ("a file stands where a folder is needed", "name another folder"),
    errno.EISDIR: ("a folder stands where a file is needed", "name another file"),
}


MARKER = "complete"
"""An empty file in a finished dataset."""

CHECKS = "checks.json"
"""A file with the checksums of the other files in its folder."""


@contextlib.contextmanager
def explained(path: Path, error: type[MMKitError] = RunError) -> Iterator[None]:
    """Turn an `OSError` (or safetensors' form of one) raised while writing `path` into a user's error."""
    try:
        yield
    except OSError as reason:
        what, hint = _ADVICE.get(_number(reason), (reason.strerror or str(reason), "look at the folder"))
        raise error(f"cannot write: {what}", where=path, hint=hint, code="file.unwritable") from reason


def _number(reason: OSError) -> int:
    """The number of the system's error; safetensors writes it into its message."""
    told = re.search(r"\(os error (\d+)\)", str(reason))
    return int(told[1]) if told else reason.errno or 0


@contextlib.contextmanager
def replacing(path: Path, error: type[MMKitError] = RunError) -> Iterator[Path]:
    """A temporary file that replaces `path` when the block ends without an error, and disappears otherwise.

    A link is followed: the file that it names is replaced. Anything that is not a regular file (a device, a pipe) is
    never replaced: what the block wrote is copied into it.
    """
    with explained(path, error):
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        through = target.exists() and not target.is_file()
        if through and target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        folder = Path(tempfile.gettempdir()) if through else target.parent
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_file(folder, target.name) as temporary:
            yield temporary
            if through:
                with temporary.open("rb") as source, target.open("wb", buffering=0) as sink:
                    shutil.copyfileobj(source, sink)
                return
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())  # what any new file gets, not a temporary one's 0600
            temporary.replace(target)


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w", error: type[MMKitError] = RunError) -> Iterator[IO[Any]]:
    """Open `path` for writing: it appears when the block ends without an error, else it stays as it was."""
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    with (
        replacing(path, error) as temporary,
        temporary.open(mode, encoding=encoding, newline=newline) as file,
    ):
        yield file


def written_once(target: Path, write: Callable[[Path], None]) -> Path:
    """`target` as an absolute path, filled by `write` unless it is complete already.

    `write` works in a temporary folder, which is then renamed; if two processes write, the first one wins.
    Raises `DataError` if the disk refuses, or if something else stands there, and `MMKitError` if another user may
    have written it.
    """
    target = target.absolute()
    if (target / MARKER).exists():
        check_tree(target)
        return target
    with explained(target, DataError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(target.parent, target.name) as temporary:
            write(temporary)
            (temporary / MARKER).touch()
            put_in_place(temporary, target, (target / MARKER).exists)
    return target


def put_in_place(temporary: Path, target: Path, is_there: Callable[[], bool]) -> None:
    """Rename a temporary folder, unless another process was first."""
    temporary.chmod(0o755)
    try:
        temporary.rename(target)
    except OSError:
        if not is_there():
            raise


def kept(target: Path, write: Callable[[Path], None]) -> Path:
    """`target` as an absolute path, filled by `write` unless it is complete, and filled again if it is damaged.

    Processes wait for one another here, and files that a killed process left behind are removed. Raises `DataError`
    if the disk refuses, and `MMKitError` if another user may have written what is there.
    """

    def write_with_checks(folder: Path) -> None:
        write(folder)
        (folder / CHECKS).write_text(json.dumps(_checksums(folder)), encoding="utf-8")

    target = target.absolute()
    check_tree(target)
    if not is_undamaged(target):
        with explained(target, DataError):
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if not is_undamaged(target):  # another process may have written it while this one waited
                    for leftover in (target, *target.parent.glob(f".{target.name}.*")):
                        shutil.rmtree(leftover, ignore_errors=True)
                    written_once(target, write_with_checks)
    return target


def is_undamaged(target: Path) -> bool:
    """Whether a folder that `kept` filled exists, with the files as they were written."""
    try:
        return bool(read_json(target / CHECKS) == _checksums(target))
    except (OSError, ValueError):
        return False


def _checksums(folder: Path) -> dict[str, int]:
    checks: dict[str, int] = {}
    for path in folder.iterdir():
        if path.name not in (CHECKS, MARKER):
            checks[path.name] = crc32_of(path)
    return checks


def crc32_of(path: Path) -> int:
    """The CRC-32 of a file, read piece by piece."""
    check = 0
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            check = zlib.crc32(data, check)
    return check


def read_json(path: Path) -> Any:
    """What a file of JSON in UTF-8 says.

    Raises `OSError` for what is no regular file (reading a pipe may never end) and `ValueError` for what is no JSON, or
    is nested too deeply.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    return parsed_json(path.read_text(encoding="utf-8"))


def parsed_json(text: str | bytes) -> Any:
    """What JSON says. Raises `ValueError` for what is no JSON, or is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
"""The beginning of a web address or another URL."""


def without_root(path: str) -> str:
    """An address without the folder that a reader put before it; other paths unchanged."""
    address = ADDRESS.search(path)
    return path[address.start() :] if address else path


def tidy(path: str | Path) -> str:
    """`path` for a message: without `..` and `.`, unless a symbolic link makes that another place.

    An address (`https://...`) is not changed, except that the folder is left out that a reader put before it.
    """
    given, normal = without_root(str(path)), os.path.normpath(path)
    if ADDRESS.match(given):
        return given
    try:
        return normal if os.path.realpath(normal) == os.path.realpath(given) else given
    except (OSError, ValueError):  # a path that cannot exist
        return given


def check_inside(folder: Path, *files: Path) -> None:
    """Raise `RunError` if a link in a run folder leads what is to be written out of it."""
    for file in files:
        if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder)):
            raise RunError(
                f"a link leads out of the run folder: to {os.path.realpath(file)}",
                where=file,
                hint="remove it, or name an --output folder for the results",
                code="run.leads-out",
            )


def sync_folder(folder: Path) -> None:
    """Make renames and new files in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
