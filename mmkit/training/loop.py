"""The training loop: a generator of updates. Evaluation, logging and saving are outside it (see `updates.py`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from mmkit.batch import Batch
from mmkit.config.settings import TrainingSettings
from mmkit.errors import RecipeError, did_you_mean
from mmkit.inference.loader import Loader
from mmkit.ops.distributed import weightless
from mmkit.ops.precision import computing, products_of
from mmkit.training.batches import Share, plan_epoch, share
from mmkit.training.checkpoint import Progress
from mmkit.training.graphs.captured import CapturedUpdates, Losses
from mmkit.training.optimizer import Schedule
from mmkit.training.sharding import ShardedModel


@dataclass(frozen=True, slots=True)
class Update:
    """One update that was made. Losses stay on the device: reading one waits for it."""

    epoch: int
    step: int
    last_of_epoch: bool
    examples: Sequence[str]
    losses: dict[str, Tensor]
    total: Tensor


@dataclass
class Loop:
    """Makes updates from the state of `progress` on, and counts them there.

    Everything random is a function of (seed, epoch) or (seed, step): continuing from a saved `progress` makes the
    same updates, bit for bit on the CPU. The global batch is the same for any number of processes.
    """

    model: nn.Module
    loader: Loader
    optimizer: Optimizer
    settings: TrainingSettings
    accelerator: Accelerator
    seed: int
    precision: str
    progress: Progress
    captured: CapturedUpdates | None = None
    """Records updates and replays them, if there is a device that can."""

    def __post_init__(self) -> None:
        self.schedule = Schedule(self.optimizer, self.settings, self.steps_per_epoch)

    @property
    def steps_per_epoch(self) -> int:
        """Updates of a whole epoch."""
        return -(-len(self.loader.items) // self.settings.batch_size)

    @property
    def steps_left(self) -> int:
        """Updates that are left of the current epoch."""
        return self.steps_per_epoch - self.progress.done

    def epoch(self) -> Iterator[Update]:
        """The updates that are left of the current epoch; after the last, `progress` is at the next epoch."""
        progress, settings, items = self.progress, self.settings, self.loader.items
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        epoch, lengths = progress.epoch, [item.length for item in items]
        plan = plan_epoch(lengths, settings.batch_size, self.seed, epoch, settings.bucket)[progress.done :]
        shares = [share(batch, settings.accumulate, rank, processes) for batch in plan]
        batches = self.loader([part.indices for parts in shares for part in parts])
        self.model.train()
        for batch, parts in zip(plan, shares, strict=True):
            self.schedule.set(progress.step)
            losses, total = self._update(parts, batches, _mix(self.seed, progress.step, rank))
            progress.step, progress.done = progress.step + 1, progress.done + 1
            last = batch is plan[-1]
            if last:
                progress.epoch, progress.done = epoch + 1, 0
            ids = [items[i].example.id for i in batch]
            yield Update(epoch, progress.step, last, ids, losses, total)

    def _seed(self, seed: int) -> None:
        """Seed what draws on this device; `torch.manual_seed` also asks for every other kind of device each time."""
        if self.accelerator.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _update(self, parts: Sequence[Share], batches: Iterator[Batch], seed: int) -> Losses:
        if self.captured is not None:
            read = [next(batches) for _ in parts]
            return self.captured.make(parts, read, self._compute, partial(self._seed, seed))
        self._seed(seed)
        return self._compute(parts, (next(batches).to(self.accelerator.device) for _ in parts))

    def _compute(self, parts: Sequence[Share], batches: Iterable[Batch]) -> Losses:
        """Forward and backward over the parts of one global batch, then a step. Returns the batch's mean losses.

        `batches` are on the device. Python runs this once for updates that are captured: what differs between them must
        be in tensors.
        """
        accelerator, settings = self.accelerator, self.settings
        sums: dict[str, Tensor] = {}
        for part, micro in zip(parts, batches, strict=True):
            with contextlib.nullcontext() if part is parts[-1] else accelerator.no_sync(self.model):
                with (
                    weightless(part.weight == 0, part.dealt),
                    computing(accelerator.device, self.precision),
                ):
                    losses = self.model(micro)
                if unknown := settings.loss_weights.keys() - losses.keys():
                    raise RecipeError(
                        f"training.loss_weights names {', '.join(sorted(unknown))}, but the model has no such loss",
                        hint=did_you_mean(min(unknown), losses),
                        code="recipe.unknown-loss",
                    )
                total = sum(loss * settings.loss_weights.get(name, 1.0) for name, loss in losses.items())
                with products_of(self.precision):
                    accelerator.backward(total * part.weight)
            for name, loss in {**losses, "loss": total}.items():
                own = loss.detach() * (part.weight / accelerator.num_processes)
                sums[name] = sums[name] + own if name in sums else own
        if isinstance(self.model, ShardedModel):
            self.model.average()
            if settings.clip:
                self.model.clip(settings.clip)
        elif settings.clip:
            accelerator.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        total = sums.pop("loss")
        return sums, total


def _mix(seed: int, step: int, rank: int) -> int:
    """A generator seed for one update in one process (splitmix64's finaliser keeps neighbours apart)."""
    x = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % 2**64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return (x ^ (x >> 31)) % 2**63
