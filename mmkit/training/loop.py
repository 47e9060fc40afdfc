"""The training loop: a generator of updates. Evaluating, logging and saving hang outside it (see `train.py`)."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from mmkit.errors import TrainingError
from mmkit.model import Item
from mmkit.training.batches import Loader, plan_epoch, share, weight
from mmkit.training.checkpoint import Progress
from mmkit.training.evaluation import autocast
from mmkit.training.optimizer import Schedule
from mmkit.training.settings import TrainingSettings


@dataclass(frozen=True, slots=True)
class Update:
    """One update that was made. Losses stay on the device: reading one waits for it."""

    epoch: int
    step: int
    last_of_epoch: bool
    examples: Sequence[str]
    losses: dict[str, Tensor]
    total: Tensor


def updates(
    model: nn.Module,
    items: Sequence[Item],
    loader: Loader,
    optimizer: Optimizer,
    schedule: Schedule,
    settings: TrainingSettings,
    accelerator: Accelerator,
    seed: int,
    progress: Progress,
    precision: str = "fp32",
) -> Iterator[Update]:
    """Make updates from where `progress` stands to the last epoch's end, counting them in `progress`.

    Everything random is a function of (seed, epoch) or (seed, step): going on from a saved `progress` makes the
    same updates, bit for bit on the CPU. The global batch is the same however many processes share it.
    """
    lengths = [item.length for item in items]
    rank, processes = accelerator.process_index, accelerator.num_processes
    while progress.epoch <= settings.epochs:
        plan = plan_epoch(lengths, settings.batch_size, seed, progress.epoch, settings.bucket)[
            progress.done :
        ]
        left = len(plan)
        micro_batches = [
            micro for batch in plan for micro in share(batch, settings.accumulate, rank, processes)
        ]
        batches = loader(micro_batches)
        for batch in plan:
            model.train()
            schedule.set(progress.step)
            torch.manual_seed(_mix(seed, progress.step, rank))
            losses, total = _one_update(model, batches, batch, optimizer, settings, accelerator, precision)
            left -= 1
            progress.step, progress.done = progress.step + 1, progress.done + 1
            epoch = progress.epoch
            if left == 0:
                progress.epoch, progress.done = epoch + 1, 0
            ids = [items[i].example.id for i in batch]
            yield Update(epoch, progress.step, left == 0, ids, losses, total)


def _one_update(
    model: nn.Module,
    batches: Iterator[Any],
    batch: Sequence[int],
    optimizer: Optimizer,
    settings: TrainingSettings,
    accelerator: Accelerator,
    precision: str,
) -> tuple[dict[str, Tensor], Tensor]:
    """Forward and backward over the micro-batches of one global batch, then step. Returns the batch's mean losses."""
    shares = weight(batch, settings.accumulate, accelerator.process_index, accelerator.num_processes)
    sums: dict[str, Tensor] = {}
    for at, share_of_batch in enumerate(shares):
        micro = next(batches).to(accelerator.device)
        last = at == len(shares) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(model):
            with autocast(accelerator.device, precision):
                losses = model(micro)
            total = sum(loss * settings.loss_weights.get(name, 1.0) for name, loss in losses.items())
            accelerator.backward(total * share_of_batch)
        for name, loss in {**losses, "loss": total}.items():
            part = loss.detach() * (share_of_batch / accelerator.num_processes)
            sums[name] = sums[name] + part if name in sums else part
    if settings.clip:
        accelerator.clip_grad_norm_(model.parameters(), settings.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    total = sums.pop("loss")
    return sums, total


def _mix(seed: int, step: int, rank: int) -> int:
    """A generator seed for one update in one process (splitmix64's finaliser keeps neighbours apart)."""
    x = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % 2**64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return (x ^ (x >> 31)) % 2**63


class Watch:
    """Sums losses on the device, and looks now and then whether they are still finite."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self._total: Tensor | None = None
        self._recent: list[Sequence[str]] = []

    def add(self, update: Update) -> None:
        """Note an update; does not wait for the device."""
        for name, loss in {"loss": update.total, **update.losses}.items():
            self.sums[name] = self.sums[name] + loss if name in self.sums else loss
        self.count += 1
        # one bad loss makes every later sum bad, so a single look sees them all
        self._total = update.total if self._total is None else self._total + update.total
        self._recent.append(update.examples)

    def check(self, step: int) -> None:
        """Raise `TrainingError` naming the examples since the last look if a loss was not finite."""
        if self._total is not None and not bool(torch.isfinite(self._total)):
            ids = [i for batch in self._recent for i in batch]
            shown = ", ".join(ids[:40]) + (f" and {len(ids) - 40} more" if len(ids) > 40 else "")
            raise TrainingError(
                f"the loss is no longer finite between updates {step - len(self._recent) + 1} and {step}",
                where=f"examples {shown}",
                hint="lower training.learning_rate, set training.clip = 1.0, or look at these examples; "
                "nothing was saved since the last checkpoint",
            )
        self._total = None
        self._recent = []

    def averages(self, accelerator: Accelerator) -> dict[str, float]:
        """Mean losses since the last call, over all processes (waits for the device and for them)."""
        names = sorted(self.sums)
        sums = accelerator.reduce(torch.stack([self.sums[name].float() for name in names]), "sum").tolist()
        figures = {name: value / self.count for name, value in zip(names, sums, strict=True)}
        self.sums, self.count = {}, 0
        return figures


class StopSignal:
    """Turns Ctrl-C and SIGTERM into a flag that is looked at between updates; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)


@contextlib.contextmanager
def memory_advice(settings: TrainingSettings) -> Iterator[None]:
    """Turn running out of memory into a user's error that says what to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
            text = str(error)
            if "can't allocate memory" not in text and "out of memory" not in text:
                raise
        doubled = settings.accumulate * 2
        raise TrainingError(
            f"out of memory with {settings.batch_size} examples an update in {settings.accumulate} part(s)",
            hint=f"raise training.accumulate to {doubled} (same update, less memory), or lower training.batch_size, "
            "an encoder's max_length, training.eval_batch_size or training.feature_memory",
        ) from error
