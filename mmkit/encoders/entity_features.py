"""The features of a whole knowledge base: computed once, kept on disk by row, searched in blocks.

A frozen encoder's features lie in `$MMKIT_CACHE/entities/<encoder's fingerprint>/`: a file for every `CHUNK` rows,
called by the contents of its entities, and one that says which files make up which knowledge base. Memory holds a
chunk while it is computed, and nothing but maps of files after that, unless `place` copies all of it to a device.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from mmkit.cache import cache_dir
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity
from mmkit.encoders.base import BLANK, ItemEncoder
from mmkit.encoders.shards import read_shard, shard_bytes
from mmkit.errors import MMKitError, PartError
from mmkit.files import atomic, explained, write_json

CHUNK = 16_384
"""Rows of a file: all that a killed process computes again."""
BLOCK = 65_536
"""Rows of a placed table that are searched at once."""

Progress = Callable[[int, int], None]
"""Called with how many entities are encoded, and how many there are."""


class EntityFeatures(Protocol):
    """What a decoder needs of a knowledge base's features."""

    dim: int

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where blocks are."""
        ...

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """(first row, features `[n, D]` as stored) of consecutive rows."""
        ...

    def gather(self, rows: Tensor) -> Tensor:
        """Features `[..., D]` in float32 of `rows [...]`, on their device."""
        ...


class StoredEntities:
    """Features that a frozen encoder made once: memory-mapped files, or after `place` one table on a device."""

    def __init__(self, chunks: Sequence[Tensor]) -> None:
        self._chunks = list(chunks)
        self._length = sum(len(chunk) for chunk in self._chunks)
        self.dim = self._chunks[0].shape[1]
        self._table: Tensor | None = None

    def __len__(self) -> int:
        return self._length

    @property
    def device(self) -> torch.device:
        return self._chunks[0].device if self._table is None else self._table.device

    @property
    def nbytes(self) -> int:
        """What all features take."""
        return sum(chunk.nbytes for chunk in self._chunks)

    def place(self, device: torch.device | str, budget_bytes: float) -> bool:
        """Copy all features to `device` if they take no more than `budget_bytes`; says whether they did."""
        self._table = None
        if self.nbytes > budget_bytes:
            return False
        table = torch.empty(len(self), self.dim, dtype=self._chunks[0].dtype, device=device)
        for first, chunk in self.blocks():
            table[first : first + len(chunk)] = chunk.to(device)
        self._table = table
        return True

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        first = 0
        for block in self._chunks if self._table is None else self._table.split(BLOCK):
            yield first, block
            first += len(block)

    def gather(self, rows: Tensor) -> Tensor:
        if self._table is not None:
            return F.embedding(rows.to(self._table.device), self._table).float().to(rows.device)
        flat = rows.reshape(-1).cpu()
        out = torch.empty(len(flat), self.dim, dtype=self._chunks[0].dtype)
        files = flat // CHUNK
        for file in files.unique().tolist():
            at = (files == file).nonzero().squeeze(1)
            out[at] = self._chunks[file][flat[at] - file * CHUNK]
        return out.float().to(rows.device, non_blocking=True).view(*rows.shape, self.dim)


def encode_entities(
    encoder: ItemEncoder, base: KnowledgeBase, *, batch_size: int = 64, progress: Progress | None = None
) -> StoredEntities:
    """A frozen encoder's features of every entity, from the store where they are there.

    Several processes may do so at once; a killed one loses a chunk. Raises `PartError` for an encoder that gives an
    entity more than one vector, and `MMKitError` if the store cannot be written.
    """
    if not encoder.frozen:
        raise ValueError("only the features of a frozen encoder can be stored")
    folder = cache_dir("entities") / encoder.fingerprint()
    contents = folder / f"{base.fingerprint}.json"
    chunks = _opened(folder, contents)
    if chunks is None:
        files: list[str] = []
        chunks = []
        remaining, done = iter(base), 0
        while entities := list(islice(remaining, CHUNK)):
            name, chunk = _chunk(encoder, folder, entities, batch_size)
            files.append(name)
            chunks.append(chunk)
            done += len(entities)
            if progress is not None:
                progress(done, len(base))
        write_json(contents, files)
    return StoredEntities(chunks)


def _opened(folder: Path, contents: Path) -> list[Tensor] | None:
    """The files of a knowledge base, or None if one of them is not there or damaged."""
    try:
        return [_read(folder / name) for name in json.loads(contents.read_text(encoding="utf-8"))]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None


def _read(path: Path) -> Tensor:
    return read_shard(path).tensors["pooled"]


def _chunk(
    encoder: ItemEncoder, folder: Path, entities: Sequence[Entity], batch_size: int
) -> tuple[str, Tensor]:
    """The file with the features of `entities`, and what is in it; computed if it is not there."""
    slots = [encoder.items(entity) for entity in entities]
    wide = next((e.id for e, items in zip(entities, slots, strict=True) if len(items) > 1), None)
    if wide is not None:
        raise PartError(
            "an entity is compared as one vector", where=wide, hint="set the encoder's slots to 1"
        )
    keys = [key for ((key, _),) in slots]
    name = hashlib.blake2b("\0".join(keys).encode(), digest_size=16).hexdigest() + ".safetensors"
    path = folder / name
    try:
        return name, _read(path)
    except (SafetensorError, OSError, ValueError, KeyError):
        pass
    features = _encoded(encoder, [(key, raw) for ((key, raw),) in slots], batch_size)
    with explained(folder, MMKitError):
        folder.mkdir(parents=True, exist_ok=True)
    with atomic(path, "wb", error=MMKitError) as file:
        file.write(shard_bytes([], {"pooled": features}))
    return name, _read(path)


def _encoded(encoder: ItemEncoder, items: Sequence[tuple[str, Any]], batch_size: int) -> Tensor:
    """`[n, D]`, zeros for blank items; each distinct item is encoded once, long ones together."""
    distinct = {key: raw for key, raw in items if key != BLANK}
    loaded = {key: encoder.load(raw) for key, raw in distinct.items()}
    order = sorted(distinct, key=lambda key: encoder.cost(distinct[key]))
    at = {key: row for row, key in enumerate(order)}
    made = [
        encoder.encode(torch.stack([loaded[key] for key in order[start : start + batch_size]]))[
            "pooled"
        ].cpu()
        for start in range(0, len(order), batch_size)
    ]
    table = torch.cat([*made, torch.zeros(1, encoder.dim, dtype=getattr(torch, encoder.feature_dtype))])
    rows = torch.tensor([at.get(key, len(order)) for key, _ in items])
    return table[rows]


class TrainedEntities:
    """Features of an encoder that is trained: computed for the rows a batch asks for, and for all when searched.

    Entities' loaded items (token ids) are kept in memory, so a trainable encoder of entities reads text.
    """

    def __init__(self, encoder: ItemEncoder, base: KnowledgeBase, batch_size: int = 256) -> None:
        self.encoder, self.dim, self.batch_size = encoder, encoder.dim, batch_size
        items = [encoder.items(entity)[0] for entity in base]
        self._items = torch.stack([encoder.load(raw).to(torch.int32) for _, raw in items])
        self._real = torch.tensor([key != BLANK for key, _ in items])
        self._all: Tensor | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def device(self) -> torch.device:
        return self.encoder.device

    def gather(self, rows: Tensor) -> Tensor:
        distinct, back = rows.reshape(-1).cpu().unique(return_inverse=True)
        self._all = None  # an update will follow
        return self._encode(distinct)[back.to(self.device)].view(*rows.shape, self.dim)

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        if self._all is None:
            with torch.no_grad():
                every = torch.arange(len(self)).split(self.batch_size)
                self._all = torch.cat([self._encode(rows) for rows in every])
        first = 0
        for block in self._all.split(BLOCK):
            yield first, block
            first += len(block)

    def _encode(self, rows: Tensor) -> Tensor:
        stack = self.encoder.trimmed(self._items[rows].long()).to(self.device)
        real = self._real[rows].to(self.device)
        return self.encoder.network(stack)["pooled"].float() * real[:, None]
