"""A knowledge base whose features are too large for one GPU: each process holds a part of them on its own."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from mmkit.encoders.entity_features import StoredEntities
from mmkit.errors import DataError

DEVICES = frozenset({"cuda"})
"""Kinds of devices with memory of their own. On a CPU all processes map the same files."""


class SharedEntities:
    """Features of all entities, of which `part`, the rows from `first` on, are on this process's device.

    A search asks all processes at once where all take part (`mmkit.decoders.search_shares`). Everything else reads the
    files.
    """

    def __init__(self, features: StoredEntities, part: StoredEntities, first: int) -> None:
        self.features, self.part, self.first, self.dim = features, part, first, features.dim

    @classmethod
    def of(cls, features: StoredEntities, device: torch.device, budget_bytes: float) -> SharedEntities | None:
        """The features, spread over the processes that train together: if they do not all fit into the budget of each.

        None if they do, if the part of a process does not fit either, if there is one process only, or if the device
        has no memory of its own. Every process must call it: GPUs may have different memory, and all decide the same.
        Raises `DataError` in all of them if features are not finite.
        """
        if not (dist.is_available() and dist.is_initialized()) or device.type not in DEVICES:
            return None
        rank, processes = dist.get_rank(), dist.get_world_size()
        size = -(-len(features) // processes)
        row = max(1, features.nbytes // len(features))
        part_fits = size * row <= budget_bytes and size * (processes - 1) < len(features)
        fit = torch.tensor([features.nbytes <= budget_bytes, part_fits], dtype=torch.uint8, device=device)
        dist.all_reduce(fit, dist.ReduceOp.MIN)
        whole_everywhere, part_everywhere = fit.tolist()
        if processes == 1 or whole_everywhere or not part_everywhere:
            return None
        first, last = rank * size, min(len(features), (rank + 1) * size)
        part = StoredEntities(list(_rows(features, first, last)))
        part.place(device, float("inf"))
        _check_finite(part, device)
        return cls(features, part, first)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def device(self) -> torch.device:
        return self.part.device

    @property
    def identity(self) -> str:
        """The name of the content of all features."""
        return self.features.identity

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        return self.features.blocks()

    def gather(self, rows: Tensor) -> Tensor:
        return self.features.gather(rows)


def _check_finite(part: StoredEntities, device: torch.device) -> None:
    """One process alone must not raise: the others would wait for it in the next search."""
    error: DataError | None = None
    try:
        part.norms()
    except DataError as found:
        error = found
    broken = torch.tensor([error is not None], dtype=torch.uint8, device=device)
    dist.all_reduce(broken, dist.ReduceOp.MAX)
    if broken.item():
        raise error or DataError(
            "features of entities of another process are not finite",
            hint="check the encoder's features of these texts or images",
            code="features.not-finite",
        )


def _rows(features: StoredEntities, first: int, last: int) -> Iterator[Tensor]:
    """The features of the rows from `first` up to `last`, as they are stored."""
    for at, block in features.blocks():
        some = block[max(0, first - at) : max(0, last - at)]
        if len(some):
            yield some
