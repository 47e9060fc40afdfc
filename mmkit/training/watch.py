"""Losses for the log, and checks that they are finite."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.utils import get_total_norm

from mmkit.errors import TrainingError
from mmkit.ops.sharded import part_of
from mmkit.terminal.notes import few
from mmkit.training.loop import Update

SHOWN = 40
"""The number of example ids in the message about a loss that is not finite."""


class Watch:
    """Sums losses on the device, because reading them waits for it, and reads the sums from time to time.

    `before` is the `state` of a run that goes on: what it had summed and not yet logged.
    """

    def __init__(
        self, accelerator: Accelerator, weights: Sequence[Tensor], before: Mapping[str, Any] | None = None
    ) -> None:
        self.accelerator, self.weights = accelerator, weights
        self._unchecked: list[Update] = []
        self._begin()
        if before:
            self._go_on(before)

    def _begin(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._updates, self._examples, self._since = 0, 0, time.monotonic()

    def state(self) -> dict[str, Any]:
        """What was summed over all processes since the last `figures`, as JSON (waits for the device)."""
        return {
            "sums": self._totals(),
            "updates": self._updates,
            "examples": self._examples,
            "seconds": time.monotonic() - self._since,
        }

    def _go_on(self, before: Mapping[str, Any]) -> None:
        # one process has the sums of all, which are added up again
        own = before["sums"] if self.accelerator.is_main_process else dict.fromkeys(before["sums"], 0.0)
        device = self.accelerator.device
        self._sums = {
            name: torch.tensor(value, dtype=torch.float32, device=device) for name, value in own.items()
        }
        self._updates, self._examples = before["updates"], before["examples"]
        self._since = time.monotonic() - before["seconds"]

    def add(self, update: Update) -> None:
        """Note an update; does not wait for the device."""
        for name, loss in {"loss": update.total, **update.losses}.items():
            self._sums[name] = self._sums[name] + loss.float() if name in self._sums else loss.float()
        self._updates, self._examples = self._updates + 1, self._examples + len(update.examples)
        self._unchecked.append(update)

    def check(self) -> None:
        """Check that the losses since the last check, and the weights, are finite in every process.

        Raises a `TrainingError` that names the examples since the last check. Waits for the device.
        """
        updates, self._unchecked = self._unchecked, []
        if not updates:
            return
        losses = torch.stack([update.total.float() for update in updates])
        total = losses.sum() + get_total_norm([part_of(weight.detach()) for weight in self.weights])
        if not bool(torch.isfinite(self.accelerator.reduce(total, "sum"))):  # one is enough to make it so
            raise TrainingError(
                f"the loss is no longer finite between updates {updates[0].step} and {updates[-1].step}",
                where=f"examples {few([i for update in updates for i in update.examples], SHOWN)}",
                hint="lower training.learning_rate, set training.clip = 1.0, or check these examples; "
                "nothing was saved since the last checkpoint",
                code="training.not-finite",
            )

    def figures(self) -> dict[str, float]:
        """Mean losses over all processes and examples a second since the last call (waits for both)."""
        figures = {name: value / self._updates for name, value in self._totals().items()}
        figures["examples_per_second"] = self._examples / (time.monotonic() - self._since)
        self._begin()
        return figures

    def _totals(self) -> dict[str, float]:
        """The sums over all processes."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        sums = torch.stack([self._sums[name].float() for name in names])
        return dict(zip(names, self.accelerator.reduce(sums, "sum").tolist(), strict=True))
