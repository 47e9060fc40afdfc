"""Updates that are recorded when their shapes occur a second time, and replayed from then on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

from mmkit.batch import Batch
from mmkit.errors import MMKitError, TrainingError, one_line
from mmkit.training.batches import Share
from mmkit.training.graphs.buffers import Buffers, shapes
from mmkit.training.graphs.recorder import Recorded, Recorder

MULTIPLE = 8
"""Lengths are rounded up to multiples of this number, so that few shapes occur; it suits tensor cores too."""

MOST = 64
"""Recordings that are kept. Shapes beyond these are computed without one."""

SEEN = 4096
"""Shapes that are remembered, so that those that occur again can be recorded."""

Losses: TypeAlias = tuple[dict[str, Tensor], Tensor]
"""Means over an update's examples: losses by name, and the total."""

Compute: TypeAlias = Callable[[Sequence[Share], Iterable[Batch]], Losses]
"""A whole update: forward, backward, clipping, and the optimizer's step."""


@dataclass
class CapturedUpdates:
    """Makes updates through recordings, one for each combination of shapes (and weights) of their micro-batches.

    The first update of some shapes is computed as ever, on the stream that records: it sets up what libraries set up
    when they see shapes for the first time, and the state of the optimizer. The second is recorded and replayed, and
    all later ones only replayed. Each is a real update: none is computed twice. Replays read batches, learning rates
    and random seeds anew; nothing waits for the device but a recording.
    """

    recorder: Recorder
    optimizer: Optimizer
    device: torch.device
    note: Callable[[str], None] = lambda message: None
    must: bool = False
    """Whether it is an error that an update cannot be recorded; else the rest of the training does without."""
    most: int = MOST
    given_up: bool = False
    _seen: set[Hashable] = field(default_factory=set)
    _kept: dict[Hashable, _Kept] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with_tensor_rates(self.optimizer, self.device)

    @property
    def recordings(self) -> int:
        """How many there are."""
        return len(self._kept)

    def make(
        self, parts: Sequence[Share], batches: Sequence[Batch], compute: Compute, seed: Callable[[], None]
    ) -> Losses:
        """Make the update of `batches`, which are on the CPU. `seed` seeds its random numbers.

        Raises `TrainingError` if it cannot be recorded and `must` be.
        """
        seed()
        if self.given_up:
            return compute(parts, self._moved(batches))
        key = tuple(
            (part.weight, part.dealt, shapes(batch)) for part, batch in zip(parts, batches, strict=True)
        )
        if (kept := self._kept.get(key)) is not None:
            for buffers, batch in zip(kept.buffers, batches, strict=True):
                buffers.fill(batch)
            return _copied(kept.recorded.replay())
        if key in self._seen and len(self._kept) < self.most:
            return self._record(key, parts, batches, compute, seed)
        if len(self._seen) < SEEN:
            self._seen.add(key)
        return _copied(self.recorder.warm(lambda: compute(parts, self._moved(batches))))

    def _record(
        self,
        key: Hashable,
        parts: Sequence[Share],
        batches: Sequence[Batch],
        compute: Compute,
        seed: Callable[[], None],
    ) -> Losses:
        buffers = [Buffers(batch, self.device) for batch in batches]
        read = [each.batch for each in buffers]
        try:
            with _capturable(self.optimizer):
                recorded = self.recorder.record(lambda: compute(parts, read))
        except MMKitError:
            raise
        except Exception as error:  # of whatever kind: it is raised again if it has other reasons
            self._give_up(error)
            self.optimizer.zero_grad(set_to_none=True)  # what was recorded before the error has no values
            seed()
            return compute(parts, self._moved(batches))
        self._kept[key] = _Kept(buffers, recorded)
        return _copied(recorded.replay())

    def _give_up(self, error: Exception) -> None:
        said = f"an update cannot be captured in a CUDA graph: {one_line(_first(error))}"
        if self.must:
            raise TrainingError(
                said,
                where='training.graphs = "on"',
                hint='set training.graphs = "off"; the last checkpoint is not affected',
                code="training.not-captured",
            ) from error
        self.given_up = True
        self._kept.clear()
        self.note(f"{said}; training goes on without graphs")

    def _moved(self, batches: Sequence[Batch]) -> Iterator[Batch]:
        return (batch.to(self.device) for batch in batches)


@dataclass(frozen=True)
class _Kept:
    """A recorded update, and where it reads its micro-batches."""

    buffers: Sequence[Buffers]
    recorded: Recorded[Losses]


def with_tensor_rates(optimizer: Optimizer, device: torch.device) -> None:
    """Make the learning rates tensors on `device`, which recorded steps read: `Schedule` writes to them.

    On a GPU they are float32, which its kernels read; on a CPU float64, which its kernels compute with.
    """
    dtype = torch.float64 if device.type == "cpu" else torch.float32
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), dtype=dtype, device=device)


@contextlib.contextmanager
def _capturable(optimizer: Optimizer) -> Iterator[None]:
    """Allow the optimizer's step to be captured. PyTorch warns of steps that are allowed to be and are not."""
    before = [group.get("capturable", False) for group in optimizer.param_groups]
    try:
        for group in optimizer.param_groups:
            group["capturable"] = True
        yield
    finally:
        for group, allowed in zip(optimizer.param_groups, before, strict=True):
            group["capturable"] = allowed


def _first(error: BaseException) -> BaseException:
    """The error that began it: the end of a capture raises another one, which says less."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _copied(losses: Losses) -> Losses:
    """Losses that the next replay does not overwrite, and that belong to the current stream."""
    named, total = losses
    return {name: loss.clone() for name, loss in named.items()}, total.clone()
