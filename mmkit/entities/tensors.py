"""The tensors of all entities: computed for the rows that training asks for, and kept in blocks to score all of them.

They are kept on the device if they fit there, else on the host. If parts are trained, all are computed again before
an evaluation (see `EntitySettings.refresh`), block by block, in the memory of the old ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from mmkit.batch import Features
from mmkit.data.types import Entity
from mmkit.encoders.entity_features import norms
from mmkit.encoders.threads import cores
from mmkit.entities.side import EntitySide
from mmkit.scorers.base import together

Progress = Callable[[int, int], None]
"""Called with how many entities are encoded, and how many there are."""


class EntityTensors:
    """The tensors that the scorer of a `side` keeps of each entity of a knowledge base."""

    def __init__(
        self,
        side: EntitySide,
        base: Sequence[Entity],
        device: torch.device,
        budget_bytes: float = float("inf"),
        progress: Progress | None = None,
    ) -> None:
        self.side, self.base, self.device = side, base, device
        self.budget, self.progress = budget_bytes, progress
        self._blocks: list[Features] = []
        self._weights: object = None
        """Those of the blocks, or of the evaluation that last put up with older blocks."""
        self._trained = False
        """Whether training batches came after the last evaluation: an optimiser need not count as a write."""
        self._evaluations = 0
        """Evaluations of a training since the blocks were computed."""
        self.version = 0
        """How often all tensors were computed."""

    def __len__(self) -> int:
        return len(self.base)

    def gather(self, rows: Tensor) -> Features:
        """Tensors `[..., ...]` of `rows [...]`, on the model's device, in float32.

        While a side is trained they are computed with gradients, each row once; else the kept tensors are used.
        """
        if self.side.trained and (self.side.training or torch.is_grad_enabled()):
            return self._computed(rows)
        self.fresh()
        return self._kept(rows)

    def recent(self, rows: Tensor) -> Features:
        """As `gather`, without gradients, from the kept tensors, even if they are older than the weights."""
        if not self._blocks:
            self.fresh()
        return self._kept(rows)

    def blocks(self) -> Iterator[tuple[int, Features]]:
        """(first row, tensors `[n, ...]`) of consecutive rows, on the model's device, as they are kept."""
        self.fresh()
        first = 0
        for block in self._blocks:
            yield first, _on(block, self.device)
            first += _length(block)

    def fresh(self) -> None:
        """Make sure that the kept tensors belong to the current weights, or are not older than the settings allow."""
        weights = self.side.state()
        if self._blocks and weights == self._weights and not self._trained:
            return
        after_training, self._trained, self._weights = self._trained, False, weights
        if self._blocks and after_training:
            self._evaluations += 1
            if self._evaluations % self.side.refresh:
                return
        self._evaluations = 0
        self._blocks = []  # their memory is needed
        with self.side.evaluating():
            self._blocks = self._all()
        self.version += 1

    # computing

    def _computed(self, rows: Tensor) -> Features:
        self._trained = True  # an update will follow
        distinct, back = rows.reshape(-1).cpu().unique(return_inverse=True)
        parts = distinct.split(self.side.settings.batch_size)
        batches = ([self.base[row] for row in some.tolist()] for some in parts)
        features = together(list(self.side.encoded(batches, self.device, cores())))
        back = back.to(self.device)
        return {name: tensor[back].unflatten(0, rows.shape) for name, tensor in features.items()}

    def _all(self) -> list[Features]:
        settings, home = self.side.settings, self.device
        dtype = getattr(torch, settings.dtype)
        blocks: list[Features] = []
        pending: list[Features] = []
        done = waiting = nbytes = 0
        for made in self.side.encoded(self._batches(), self.device, cores()):
            pending.append({n: t.to(dtype) if t.is_floating_point() else t for n, t in made.items()})
            done, waiting = done + _length(made), waiting + _length(made)
            if waiting >= settings.block or done == len(self):
                block, pending, waiting = together(pending), [], 0
                nbytes += sum(tensor.nbytes for tensor in block.values())
                if nbytes > self.budget and home.type != "cpu":
                    home = torch.device("cpu")
                    blocks = [_on(some, home) for some in blocks]
                blocks.append(_on(block, home))
            if self.progress is not None:
                self.progress(done, len(self))
        return blocks

    def _batches(self) -> Iterator[Sequence[Entity]]:
        remaining = iter(self.base)
        while batch := list(islice(remaining, self.side.settings.batch_size)):
            yield batch

    def _kept(self, rows: Tensor) -> Features:
        """Of the rows, from the blocks."""
        size = _length(self._blocks[0])
        flat = rows.reshape(-1).to(next(iter(self._blocks[0].values())).device)
        if not len(flat):
            parts, order = [{name: tensor[:0] for name, tensor in self._blocks[0].items()}], flat
            return self._wide(parts, order, rows)
        numbers = flat // size
        places, parts = [], []
        for number in numbers.unique().tolist():
            at = (numbers == number).nonzero().squeeze(1)
            places.append(at)
            parts.append(
                {name: tensor[flat[at] - number * size] for name, tensor in self._blocks[number].items()}
            )
        return self._wide(parts, torch.cat(places).argsort(), rows)

    def _wide(self, parts: list[Features], order: Tensor, rows: Tensor) -> Features:
        """Parts in the right order, in float32 on the device, in the shape of `rows`."""
        found = _on({name: tensor[order] for name, tensor in together(parts).items()}, self.device)
        wide = {name: t.float() if t.is_floating_point() else t for name, t in found.items()}
        return {name: tensor.unflatten(0, rows.shape) for name, tensor in wide.items()}


def _length(features: Features) -> int:
    return len(next(iter(features.values())))


def _on(features: Features, device: torch.device) -> Features:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in features.items()}


class Vectors:
    """One tensor of all entities as `EntityFeatures`, for comparisons by cosine."""

    def __init__(self, tensors: EntityTensors, name: str, dim: int) -> None:
        self.tensors, self.name, self.dim = tensors, name, dim
        self._norms: Tensor | None = None
        self._version = -1

    def __len__(self) -> int:
        return len(self.tensors)

    @property
    def device(self) -> torch.device:
        return self.tensors.device

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        for first, block in self.tensors.blocks():
            yield first, block[self.name]

    def gather(self, rows: Tensor) -> Tensor:
        return self.tensors.gather(rows)[self.name].float().to(rows.device)

    @property
    def version(self) -> int:
        """Changes when the features change."""
        self.tensors.fresh()
        return self.tensors.version

    def norms(self) -> Tensor:
        if self._norms is None or self._version != self.version:
            self._version = self.version
            self._norms = torch.cat([norms(block, first) for first, block in self.blocks()])
        return self._norms
