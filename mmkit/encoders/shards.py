"""Features on disk: append-only shards, safe with several processes and after a crash."""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mmkit.batch import Features
from mmkit.errors import MMKitError
from mmkit.files import atomic, explained, sync_folder

FORMAT = "1"


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of features, memory-mapped: `[N, ...]` each, ragged ones joined to `[sum(lengths), ...]`."""

    keys: list[str]
    tensors: Features
    starts: np.ndarray
    """The first row of each item's ragged features `[N]`."""


class Shards:
    """The shards of one folder. A shard is written completely or not at all, and never changed.

    Write only while `locked`. `damaged` names files that are truncated or altered; they are ignored, so that their
    content is computed again, and the next `clean` removes them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with explained(folder, MMKitError):
            folder.mkdir(parents=True, exist_ok=True)
        self.shards: list[Shard] = []
        self.where: dict[str, tuple[int, int]] = {}
        """Key → (shard, row in it)."""
        self.damaged: list[Path] = []
        self._seen: set[str] = set()
        self.refresh()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from computing and writing the same during a block."""
        with locked(self.folder):
            yield

    def refresh(self) -> None:
        """Open shards that were written since the last call."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name not in self._seen:
                self._seen.add(path.name)
                self._open(path)

    def _open(self, path: Path) -> None:
        try:
            shard = read_shard(path)
        except (SafetensorError, OSError, ValueError, KeyError):
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
        """Remove damaged shards and files that a killed process left half-written; call it while `locked`."""
        for path in [*self.damaged, *self.folder.glob(".*.safetensors.*.tmp")]:
            path.unlink(missing_ok=True)


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


def shard_bytes(keys: Sequence[str], features: Features) -> bytes:
    """A shard as `read_shard` reads it: features, keys and checksums."""
    checks = {name: _checksum(tensor) for name, tensor in features.items()}
    metadata = {"format": FORMAT, "keys": json.dumps(list(keys)), "checks": json.dumps(checks)}
    return save({k: v.contiguous() for k, v in features.items()}, metadata)


def read_shard(path: Path) -> Shard:
    """Open a shard and compare its content with the checksums; raises `ValueError` if they differ."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        if metadata["format"] != FORMAT:
            raise ValueError(f"{path}: format {metadata['format']}")
        keys, checks = json.loads(metadata["keys"]), json.loads(metadata["checks"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if {name: _checksum(tensor) for name, tensor in tensors.items()} != checks:
        raise ValueError(f"{path}: the contents are not what was written")
    lengths = tensors["lengths"].numpy() if "lengths" in tensors else np.zeros(len(keys), dtype=np.int64)
    return Shard(keys, tensors, np.cumsum(lengths) - lengths)


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
