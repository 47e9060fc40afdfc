"""The features of a whole knowledge base: computed once, kept on disk by row, searched in blocks.

A frozen encoder's features are in `$MMKIT_CACHE/entities/<encoder's fingerprint>/`: a file for every `CHUNK` rows,
named by the content of its entities, and a file that lists the files of each knowledge base. Memory holds a chunk
while it is computed, and after that only maps of files, unless `place` copies everything to a device.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkit.cache import cache_dir
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity
from mmkit.encoders.encoding import batch_for, encoded
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import BLANK
from mmkit.encoders.shards import Shard, claimed, read_shard, shard_bytes
from mmkit.encoders.store import refuse_pictures
from mmkit.encoders.threads import cores, load_ahead, loading
from mmkit.errors import DataError, ImageError, MMKitError, PartError
from mmkit.files import atomic, explained, read_json, write_json
from mmkit.files.ownership import check_own

CHUNK = 16_384
"""Rows of a file: a killed process computes at most this many again."""
BLOCK = 65_536
"""Rows of a placed table that are searched together."""

Progress = Callable[[int, int], None]
"""Called with how many entities are encoded, and how many there are."""


class EntityFeatures(Protocol):
    """A knowledge base's features, as a decoder needs them."""

    dim: int

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """The device of the blocks."""
        ...

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """(first row, features `[n, D]` as stored) of consecutive rows."""
        ...

    def gather(self, rows: Tensor) -> Tensor:
        """Features `[..., D]` in float32 of `rows [...]`, on their device."""
        ...


@runtime_checkable
class KeepsNorms(Protocol):
    """Features with the length of each vector, so that a search need not compute them."""

    def norms(self) -> Tensor:
        """`[N]`, float32, computed once. Raises `DataError` for features that are not finite."""
        ...


def norms(features: Tensor, first: int = 0) -> Tensor:
    """The lengths of vectors `[n, D]`, in float32; raises `DataError` if they are not finite, by rows from
    `first`."""
    found: Tensor = torch.linalg.vector_norm(features.float(), dim=1)
    if not found.isfinite().all():
        raise DataError(
            f"features among entities {first} to {first + len(found) - 1} are not finite",
            hint="check the encoder's features of these texts or images",
            code="features.not-finite",
        )
    return found


def content_of(features: EntityFeatures, of: str = "") -> str:
    """A hash of all features, and of the text `of`. It reads them all."""
    digest = hashlib.blake2b(f"{of} {len(features)} {features.dim}".encode(), digest_size=16)
    for _, block in features.blocks():
        digest.update(str(block.dtype).encode())
        digest.update(block.contiguous().cpu().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def identity_of(features: EntityFeatures) -> str:
    """A name for the content of features: two with the same name are the same, row by row.

    Stored features are named by their files, which costs nothing; of others the content is hashed.
    """
    return getattr(features, "identity", "") or content_of(features)


class StoredEntities:
    """Stored features of a frozen encoder: memory-mapped files, or after `place` one table on a device.

    `identity` names their content, as `identity_of` gives it; empty if nobody knows it yet.
    """

    def __init__(self, chunks: Sequence[Tensor], identity: str = "") -> None:
        self.identity = identity
        self._chunks = list(chunks)
        self._length = sum(len(chunk) for chunk in self._chunks)
        self.dim = self._chunks[0].shape[1]
        self._table: Tensor | None = None
        self._norms: Tensor | None = None

    def __len__(self) -> int:
        return self._length

    @property
    def device(self) -> torch.device:
        return self._chunks[0].device if self._table is None else self._table.device

    @property
    def nbytes(self) -> int:
        """The size of all features."""
        return sum(chunk.nbytes for chunk in self._chunks)

    def place(self, device: torch.device | str, budget_bytes: float) -> bool:
        """Copy all features to `device` if they take at most `budget_bytes`; returns whether they were copied."""
        self._table = self._norms = None
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

    def norms(self) -> Tensor:
        if self._norms is None:
            self._norms = torch.cat([norms(block, first) for first, block in self.blocks()])
        return self._norms

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
    """A frozen encoder's features of every entity, from the store if they are there.

    Several processes may call it at the same time. They share the work, `CHUNK` entities at a time; a killed one loses
    those that it had, and another one computes them. Raises
    `PartError` for an encoder that gives an entity more than one vector, `DataError` naming broken images unless
    blank ones may be used instead, and `MMKitError` if the store cannot be written.
    """
    if not encoder.frozen:
        raise ValueError("only the features of a frozen encoder can be stored")
    folder = cache_dir("entities") / encoder.fingerprint()
    with explained(folder, MMKitError):
        folder.mkdir(parents=True, exist_ok=True)
    check_own([folder])
    contents = _contents_file(folder, encoder, base)
    found = _opened(contents, len(base)) if contents is not None else None
    if found is None:
        found = _shared(encoder, folder, base, batch_size, progress)
        if contents is not None:
            write_json(contents, {"files": found[0], "check": _check(found[0])})
    files, chunks = found
    named = json.dumps([folder.name, files])  # a file is named by its entities, the folder by the encoder
    return StoredEntities(chunks, hashlib.blake2b(named.encode(), digest_size=16).hexdigest())


def _contents_file(folder: Path, encoder: ItemEncoder, base: KnowledgeBase) -> Path | None:
    """The file that lists a knowledge base's files of features, if its records alone decide the features."""
    choice = encoder.source.choice()
    if choice is None:
        return None
    described = json.dumps([base.fingerprint, CHUNK, choice], sort_keys=True)
    return folder / f"{hashlib.blake2b(described.encode(), digest_size=16).hexdigest()}.json"


def _opened(contents: Path, entities: int) -> tuple[list[str], list[Tensor]] | None:
    """The names of a knowledge base's files and what is in them; None if one, or their list, is missing or damaged."""
    check_own([contents])
    try:
        listed = read_json(contents)
        names = listed["files"] if isinstance(listed, dict) else listed  # a list alone: of earlier versions
        if isinstance(listed, dict) and listed["check"] != _check(names):
            return None
        chunks = [_read_chunk(contents.with_name(name)).tensors["pooled"] for name in names]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return (names, chunks) if sum(map(len, chunks)) == entities else None


def _shared(
    encoder: ItemEncoder, folder: Path, base: KnowledgeBase, batch_size: int, progress: Progress | None
) -> tuple[list[str], list[Tensor]]:
    """The names of all files and what is in them; files that another process computes meanwhile come last."""
    found: dict[int, tuple[str, Tensor]] = {}
    firsts, done = range(0, len(base), CHUNK), 0
    for wait in (False, True):
        for first in firsts:
            if first in found:
                continue
            entities = [base[row] for row in range(first, min(first + CHUNK, len(base)))]
            name, chunk = _chunk(encoder, folder, entities, batch_size, wait)
            if chunk is None:
                continue
            found[first] = name, chunk
            done += len(entities)
            if progress is not None:
                progress(done, len(base))
    ordered = [found[first] for first in firsts]
    return [name for name, _ in ordered], [chunk for _, chunk in ordered]


def _chunk(
    encoder: ItemEncoder, folder: Path, entities: Sequence[Entity], batch_size: int, wait: bool
) -> tuple[str, Tensor | None]:
    """The file with the features of `entities`, and what is in it; computed if it is not there.

    None if another process computes it, unless this one is to `wait` for that.
    """
    items = [_only_item(encoder, entity) for entity in entities]
    name = hashlib.blake2b("\0".join(key for key, _ in items).encode(), digest_size=16).hexdigest()
    path = folder / f"{name}.safetensors"
    chunk = _read(path, encoder)
    if chunk is None:
        with claimed(path, wait=wait) as mine:
            if not mine:
                return path.name, None
            chunk = _read(path, encoder)  # another process may have written it meanwhile
            if chunk is None:
                _write(path, encoder, items, batch_size)
                chunk = _read_chunk(path).tensors["pooled"]
    return path.name, chunk


def _read(path: Path, encoder: ItemEncoder) -> Tensor | None:
    """A file of features, if it exists, is undamaged, and uses blank images only where they are allowed."""
    try:
        shard = _read_chunk(path)
    except (OSError, ValueError):
        return None
    return shard.tensors["pooled"] if not shard.keys or encoder.missing.policy == "blank" else None


def _read_chunk(path: Path) -> Shard:
    """A file of features, which says of which entities it is. Raises as `check_own` and `read_shard` do."""
    check_own([path])
    shard = read_shard(path, path.stem)
    if "pooled" not in shard.tensors:
        raise ValueError(f"{path}: no features are in it")
    return shard


def _check(files: Sequence[str]) -> int:
    return zlib.crc32(json.dumps(files).encode())


def has_one_item(encoder: ItemEncoder, entity: Entity) -> bool:
    """Whether an encoder reads one item of each entity, so that one vector can be stored by row."""
    return len(encoder.source.items(entity, encoder.missing)) == 1


def _only_item(encoder: ItemEncoder, entity: Entity) -> tuple[str, Any]:
    """An entity's item. Raises `PartError` if the encoder takes several."""
    items = encoder.source.items(entity, encoder.missing)
    if len(items) > 1:
        raise PartError(
            "an entity is compared as one vector",
            where=entity.id,
            hint="set the encoder's slots to 1, or combine several vectors in [model.entities.fuser]",
            code="encoder.several-vectors",
        )
    return items[0]


def _write(path: Path, encoder: ItemEncoder, items: Sequence[tuple[str, Any]], batch_size: int) -> None:
    """The features `[n, D]` of items, zeros for blank and broken ones, and the keys of the latter.

    Each distinct item is encoded once; items of similar length are encoded together.
    """
    broken: dict[str, ImageError] = {}
    distinct = {key: raw for key, raw in items if key != BLANK}
    ordered = dict(sorted(distinct.items(), key=lambda item: encoder.source.cost(item[1])))
    row_of: dict[str, int] = {}
    made = [torch.zeros(1, encoder.dim, dtype=getattr(torch, encoder.feature_dtype))]
    with loading(cores()) as pool:
        size = batch_for(batch_size, encoder.device)
        for part in encoded(encoder, load_ahead(encoder.source, ordered, pool, 2 * size), size):
            broken |= part.broken
            if part.keys:
                made.append(part.features["pooled"])
                row_of |= {key: len(row_of) + 1 + i for i, key in enumerate(part.keys)}
    refuse_pictures(encoder.missing, {error.where: error.what for error in broken.values()}, "broken")
    features = torch.cat(made)[torch.tensor([row_of.get(key, 0) for key, _ in items])]
    with atomic(path, "wb", error=MMKitError) as file:
        file.write(shard_bytes(list(broken), {"pooled": features}, path.stem))


class TrainedEntities:
    """Features of an encoder that is trained: computed for the rows of a batch, and for all entities to predict.

    Those for prediction are kept until the weights change. Entities' loaded items (token ids) are kept in memory.
    Raises `PartError` for an image encoder, or one that gives an entity more than one vector.
    """

    def __init__(self, encoder: ItemEncoder, base: KnowledgeBase, batch_size: int = 256) -> None:
        self.encoder, self.dim, self.batch_size = encoder, encoder.dim, batch_size
        if encoder.source.pictures:
            raise PartError(
                "an encoder of entities that is trained must read texts",
                where=type(encoder).__name__,
                hint="set frozen = true for this encoder",
                code="encoder.trained-pictures",
            )
        items = [_only_item(encoder, entity) for entity in base]
        self._items = [encoder.source.load(raw) for _, raw in items]
        self._real = torch.tensor([key != BLANK for key, _ in items])
        self._all: Tensor | None = None
        self._norms: Tensor | None = None
        self._version = 0
        self._weights: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    def gather(self, rows: Tensor) -> Tensor:
        if not (self.encoder.training or torch.is_grad_enabled()):
            return self._table()[rows.to(self.device)]
        self._all = None  # an update will follow, and fused optimizers do not count as writes
        distinct, back = rows.reshape(-1).cpu().unique(return_inverse=True)
        made = torch.cat([self._encode(some) for some in distinct.split(self.batch_size)])
        return made[back.to(self.device)].view(*rows.shape, self.dim)

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        first = 0
        for block in self._table().split(BLOCK):
            yield first, block
            first += len(block)

    @property
    def version(self) -> int:
        """Changes when the features change."""
        self._table()
        return self._version

    def norms(self) -> Tensor:
        table = self._table()
        if self._norms is None:
            self._norms = norms(table)
        return self._norms

    def _table(self) -> Tensor:
        """The features of all entities `[N, D]` with the current weights."""
        weights = tuple((tensor.data_ptr(), tensor._version) for tensor in self.encoder.state_dict().values())
        if self._all is None or weights != self._weights:
            with torch.no_grad():
                every = torch.arange(len(self)).split(self.batch_size)
                self._all = torch.cat([self._encode(rows) for rows in every])
            self._weights, self._norms = weights, None
            self._version += 1
        return self._all

    def _encode(self, rows: Tensor) -> Tensor:
        stack = self.encoder.source.stack([self._items[row] for row in rows.tolist()])
        stack = {name: tensor.to(self.device) for name, tensor in stack.items()}
        real = self._real[rows].to(self.device)
        return self.encoder.compute(stack)["pooled"].float() * real[:, None]
