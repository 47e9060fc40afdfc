"""Stored features of the current examples: looked up in `collate`, gathered in `forward`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmkit.batch import Features
from mmkit.encoders.items import BLANK, CollatedItems
from mmkit.encoders.shards import Shards

Ints = np.ndarray[Any, np.dtype[np.int64]]


class StoredFeatures:
    """Rows of features, and which of them belong to which example.

    The features are memory-mapped on disk, and `collate` copies those of a batch. After `place` they are on a device
    as one table for each feature, and `collate` names only rows. With `drops_blanks` (see `ItemSource`) an example
    has as many slots as real items, and row 0, the blank item, is the padding: it is stored as zeros.
    """

    def __init__(
        self, shards: Shards, fingerprint: str, ragged: frozenset[str], drops_blanks: bool = False
    ) -> None:
        self.shards, self.fingerprint, self.ragged = shards, fingerprint, ragged
        self.drops_blanks = drops_blanks
        self._rows: dict[str, int] = {BLANK: 0} if drops_blanks else {}
        self._index: dict[Hashable, int] = {}  # of an example in the next two
        self._slots: Ints = np.zeros((0, 1), dtype=np.int64)  # the row in each of an example's slots
        self._real: np.ndarray[Any, np.dtype[np.bool_]] = np.zeros((0, 1), dtype=np.bool_)
        self._where: Ints = np.empty((0, 2), dtype=np.int64)  # shard and row in it, of each of our rows
        self._tables: Features | None = None
        self._starts: Ints = np.empty(0, dtype=np.int64)  # of ragged rows in a placed table
        self._lengths: Ints = np.empty(0, dtype=np.int64)

    def __contains__(self, identity: Hashable) -> bool:
        return identity in self._index

    def __len__(self) -> int:
        """The number of distinct items."""
        return len(self._rows)

    def add(self, slots: dict[Hashable, list[tuple[str, bool]]]) -> None:
        """Add examples: their identity → key and whether it is real, for each slot. Undoes `place`."""
        known = len(self._slots)
        self._index |= {identity: known + i for i, identity in enumerate(slots)}
        kept = [[item for item in items if item[1] or not self.drops_blanks] for items in slots.values()]
        width = max([self._slots.shape[1], *map(len, kept)])
        beyond = ((0, len(kept)), (0, width - self._slots.shape[1]))
        self._slots, self._real = np.pad(self._slots, beyond), np.pad(self._real, beyond)
        for i, items in enumerate(kept, known):
            for j, (key, real) in enumerate(items):
                self._slots[i, j], self._real[i, j] = self._rows.setdefault(key, len(self._rows)), real
        if len(self._rows) > len(self._where):
            where = self.shards.where
            self._where = np.array([where[key] for key in self._rows], dtype=np.int64)
            self._lengths = np.zeros(len(self._where), dtype=np.int64)
            for shard, ours, theirs in self._by_shard(np.arange(len(self._where))):
                if self.ragged:
                    self._lengths[ours] = shard.tensors["lengths"].numpy()[theirs]
            self._starts = np.cumsum(self._lengths) - self._lengths
            self._tables = None

    @property
    def nbytes(self) -> int:
        """The size of the features of all rows."""
        total = 0
        for shard, ours, _ in self._by_shard(np.arange(len(self._where))):
            for name, tensor in shard.tensors.items():
                count = self._lengths[ours].sum() if name in self.ragged else len(ours)
                total += int(count) * tensor[:1].numel() * tensor.element_size()
        return total

    @property
    def placed(self) -> bool:
        """Whether `collate` names rows of a table on a device, rather than copying features."""
        return self._tables is not None

    def place(self, device: torch.device | str, budget_bytes: float) -> bool:
        """Copy all features to `device` if they take at most `budget_bytes`; returns whether they were copied."""
        if not len(self._where) or self.nbytes > budget_bytes:
            self._tables = None
            return False
        tables: Features = {}
        for shard, ours, theirs in self._by_shard(np.arange(len(self._where))):
            for name, tensor in shard.tensors.items():
                to, of, total = ours, theirs, len(self._where)
                if name in self.ragged:
                    lengths = self._lengths[ours]
                    to, of = ranges(self._starts[ours], lengths), ranges(shard.starts[theirs], lengths)
                    total = int(self._lengths.sum())
                if name not in tables:
                    tables[name] = torch.empty(total, *tensor.shape[1:], dtype=tensor.dtype, device=device)
                source = tensor[torch.from_numpy(of)].to(device)
                tables[name][torch.from_numpy(to).to(device)] = source
        self._tables = tables
        return True

    def collate(self, identities: Sequence[Hashable]) -> CollatedItems | None:
        """The input of `gather` for a batch, or None if one of the examples is not known.

        If placed: rows of the table and, for ragged features, their positions in it. Else the features themselves.
        """
        try:
            found = np.array([self._index[identity] for identity in identities])
        except KeyError:
            return None
        rows, real = self._slots[found], self._real[found]
        if self.drops_blanks:
            n = max(1, int(real.sum(1).max()))
            rows, real = rows[:, :n], real[:, :n]
        mask = torch.from_numpy(real)
        if self._tables is None:
            return CollatedItems(mask, stored=self._from_disk(rows))
        positions = None
        if self.ragged:
            lengths = self._lengths[rows]
            steps = np.arange(lengths.max(initial=0))
            starts = self._starts[rows][..., None]
            positions = torch.from_numpy(np.where(steps < lengths[..., None], starts + steps, -1))
        return CollatedItems(mask, torch.from_numpy(rows), positions)

    def gather(self, batch: CollatedItems) -> Features:
        """Features `[B, n, ...]` of a collated batch on the device; ragged ones are zero beyond `lengths`."""
        if self._tables is None or batch.rows is None:
            return batch.stored
        features = {}
        for name, table in self._tables.items():
            if name in self.ragged and (at := batch.positions) is not None:
                values = _take(table, at.clamp(min=0))
                hidden = (at < 0).view(*at.shape, *[1] * (values.dim() - at.dim()))
                features[name] = values.masked_fill(hidden, 0)
            else:
                features[name] = _take(table, batch.rows)
        return features

    def _from_disk(self, rows: Ints) -> Features:
        flat = rows.reshape(-1)
        out: Features = {}
        padded: dict[str, list[Tensor]] = {name: [torch.empty(0)] * len(flat) for name in self.ragged}
        for shard, ours, theirs in self._by_shard(flat):
            for name, tensor in shard.tensors.items():
                if name in self.ragged:
                    for to, start, length in zip(
                        ours, shard.starts[theirs], self._lengths[flat[ours]], strict=True
                    ):
                        padded[name][to] = tensor[start : start + length]
                    continue
                if name not in out:
                    out[name] = torch.empty(len(flat), *tensor.shape[1:], dtype=tensor.dtype)
                out[name].numpy()[ours] = tensor.numpy()[theirs]  # torch's own indexing is slower here
        out |= {name: pad_sequence(values, batch_first=True) for name, values in padded.items()}
        return {name: values.unflatten(0, rows.shape) for name, values in out.items()}

    def _by_shard(self, rows: Ints) -> list[tuple[Any, Ints, Ints]]:
        """For each shard that has some of `rows`: the shard, indices into `rows`, and rows in the shard."""
        shard, local = self._where[rows].T
        return [
            (self.shards.shards[s], ours := np.flatnonzero(shard == s), local[ours]) for s in np.unique(shard)
        ]


def _take(table: Tensor, at: Tensor) -> Tensor:
    """`table[at]`, by way of the embedding kernel, which copies whole rows several times faster."""
    if table.dim() == 1:
        return table[at]
    return F.embedding(at, table.flatten(1)).view(*at.shape, *table.shape[1:])


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """The numbers start, start + 1, ... of each of several ranges, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
