"""Ending an evaluation before its time, between two batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.distributed as dist


@dataclass(frozen=True)
class Stops:
    """Whether the evaluation of a split is to end early. Several processes that share it all end it, or none does."""

    asked: Callable[[], bool]
    """Whether this process is asked to stop; once it is, it stays so."""
    processes: int = 1
    in_step: bool = False
    """Whether all processes must compute equally many batches, because each holds a part of the model."""

    def after_batch(self) -> bool:
        """Whether this process is to compute no further batch; those that are in step must all call it."""
        return self._anybody() if self.in_step else self.asked()

    def at_the_end(self) -> None:
        """Raise `KeyboardInterrupt` in all processes if one of them was asked to stop; all must call it."""
        if self._anybody():
            raise KeyboardInterrupt

    def _anybody(self) -> bool:
        if self.processes == 1:
            return self.asked()
        told = [False] * self.processes
        dist.all_gather_object(told, self.asked())
        return any(told)
