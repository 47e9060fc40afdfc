"""Features on disk: append-only shards, safe with several processes and after a crash."""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mmkit.batch import Features
from mmkit.errors import MMKitError, one_line
from mmkit.files import atomic, explained, sync_folder
from mmkit.files.ownership import check_own
from mmkit.files.temporary import remove_leftovers

FORMAT = "1"
HEADER = "header"
"""Metadata key: the checksum of the header."""
RANGES = 64
"""The ranges of keys in a folder: so many processes, at most, can compute features for it at the same time."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of features, memory-mapped: `[N, ...]` each, ragged ones joined to `[sum(lengths), ...]`."""

    keys: list[str]
    tensors: Features
    starts: np.ndarray
    """The first row of each item's ragged features `[N]`."""


class Shards:
    """The shards of one folder. A shard is written completely or not at all, and never changed.

    Several processes may write. Each claims ranges of keys first (`claimed`), so that nothing is computed twice, and
    looks what others wrote meanwhile (`refresh`). `damaged` names files that are truncated or altered; they are
    ignored, so that their content is computed again, and the next `clean` removes them. Raises `MMKitError` for files
    and folders that another user may have written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with explained(folder, MMKitError):
            folder.mkdir(parents=True, exist_ok=True)
        check_own([folder])
        self.shards: list[Shard] = []
        self.where: dict[str, tuple[int, int]] = {}
        """Key → (shard, row in it)."""
        self.damaged: list[Path] = []
        self._seen: set[str] = set()
        self.refresh()

    @contextmanager
    def claimed(self, ranges: Sequence[int], *, wait: bool) -> Iterator[bool]:
        """Keep other processes from computing features of keys in these `ranges`, in ascending order, during a block.

        False if another process has one of them, and this one does not `wait`. The claims of a process that is killed
        end with it. Raises `MMKitError` if nothing can be written in the folder.
        """
        with ExitStack() as held:
            yield all(_held(self.folder, number, wait, held) for number in ranges)

    def refresh(self) -> None:
        """Open shards that were written since the last call."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name not in self._seen:
                self._seen.add(path.name)
                self._open(path)

    def _open(self, path: Path) -> None:
        check_own([path])
        try:
            shard = read_shard(path)
            _check_rows(shard)
        except (OSError, ValueError):
            self.damaged.append(path)
            return
        for row, key in enumerate(shard.keys):
            self.where.setdefault(key, (len(self.shards), row))
        self.shards.append(shard)

    def append(self, keys: Sequence[str], features: Features) -> None:
        """Write a shard. Raises `MMKitError`, and leaves no file behind, if the disk refuses."""
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        with atomic(path, "wb", error=MMKitError) as file:
            file.write(shard_bytes(keys, features))
        sync_folder(self.folder)
        self.refresh()

    def clean(self) -> None:
        """Remove damaged shards and files that a killed process left half-written."""
        with locked(self.folder):
            for path in self.damaged:
                path.unlink(missing_ok=True)
            remove_leftovers(self.folder.glob(".*"))


def range_of(key: str) -> int:
    """The range of keys to which a key belongs, whatever the other keys are."""
    return zlib.crc32(key.encode()) % RANGES


def _held(folder: Path, number: int, wait: bool, held: ExitStack) -> bool:
    """Whether this process has the range `number` now, until `held` is closed."""
    lock = FileLock(folder / f".{number:02}.lock")
    with explained(folder, MMKitError), suppress(Timeout):
        lock.acquire(timeout=-1 if wait else 0)
        held.callback(lock.release)
        return True
    return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock `folder` against other processes during a block. Raises `MMKitError` if nothing can be written there."""
    lock = FileLock(folder / ".lock")
    with explained(folder, MMKitError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def claimed(path: Path, *, wait: bool) -> Iterator[bool]:
    """Claim a file to write it. False if another process has claimed it, and this one does not `wait`.

    The claim of a process that was killed ends with it. Raises `MMKitError` if nothing can be written there.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with explained(path.parent, MMKitError), suppress(Timeout):
        lock.acquire(timeout=-1 if wait else 0)
    if not lock.is_locked:
        yield False
        return
    try:
        yield True
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # who still waits for it reads the file first
        lock.release()


def shard_bytes(keys: Sequence[str], features: Features, about: str = "") -> bytes:
    """A shard as `read_shard` reads it: features, keys, what they are `about`, and checksums of all of it."""
    checks = {name: _checksum(tensor) for name, tensor in features.items()}
    metadata = {"format": FORMAT, "keys": json.dumps(list(keys)), "checks": json.dumps(checks)}
    metadata |= {"about": about} if about else {}
    metadata[HEADER] = str(_header_checksum(metadata, features))
    return save({k: v.contiguous() for k, v in features.items()}, metadata)


def read_shard(path: Path, about: str = "") -> Shard:
    """Open a shard and compare its contents and its header with their checksums.

    Shards of earlier versions have no checksum of the header, and do not say what they are about. Raises `ValueError`
    where a shard is not what was written, or is about something else; `OSError` where it cannot be read.
    """
    try:
        return _read(path, about)
    except (SafetensorError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path}: {one_line(error)}") from error  # RuntimeError: RecursionError, too


def _read(path: Path, about: str) -> Shard:
    if not path.is_file():
        raise ValueError(f"{path} is no regular file")  # reading a pipe may never end
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        if metadata["format"] != FORMAT:
            raise ValueError(f"{path}: format {metadata['format']}")
        keys, checks = json.loads(metadata["keys"]), json.loads(metadata["checks"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        raise ValueError(f"{path}: its keys are no list of names")
    if {name: _checksum(tensor) for name, tensor in tensors.items()} != checks:
        raise ValueError(f"{path}: the contents are not what was written")
    if HEADER in metadata and metadata[HEADER] != str(_header_checksum(metadata, tensors)):
        raise ValueError(f"{path}: the header is not what was written")
    if about and metadata.get("about", about) != about:
        raise ValueError(f"{path}: it is about something else")
    lengths = tensors["lengths"].numpy() if "lengths" in tensors else np.zeros(len(keys), dtype=np.int64)
    return Shard(keys, tensors, np.cumsum(lengths) - lengths)


def _check_rows(shard: Shard) -> None:
    """Raise `ValueError` unless every feature has a row for each key, or as many as `lengths` add up to."""
    count = len(shard.keys)
    lengths = shard.tensors.get("lengths", torch.zeros(count, dtype=torch.int64))
    if lengths.shape != (count,) or lengths.is_floating_point() or bool((lengths < 0).any()):
        raise ValueError("lengths do not fit the keys")
    rows = {count, int(lengths.sum())}
    if wrong := [
        name for name, tensor in shard.tensors.items() if not tensor.dim() or len(tensor) not in rows
    ]:
        raise ValueError(f"{wrong[0]} does not fit the keys")


def _header_checksum(metadata: Mapping[str, str], features: Features) -> int:
    """Of all that a header says: keys, what they are about, names, types, shapes, and the contents' checksums."""
    said = [metadata.get(name) for name in ("format", "keys", "checks", "about")]
    forms = sorted((name, str(tensor.dtype), list(tensor.shape)) for name, tensor in features.items())
    return zlib.crc32(json.dumps([said, forms]).encode())


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
