"""The objects that the steps of one training run share, and their messages to hooks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from pluggy import PluginManager

from mmkit.config.settings import TrainingSettings
from mmkit.errors import Interrupted, TrainingStopped
from mmkit.recipe import Recipe
from mmkit.runs.folder import Run
from mmkit.training.launch import Launch
from mmkit.training.stopping import StopSignal


@dataclass(frozen=True)
class Session:
    """One call of `train`. It does not change; `mmkit.training.checkpoint.Progress` counts what changes."""

    recipe: Recipe
    run: Run
    accelerator: Accelerator
    plugins: PluginManager
    stop: StopSignal
    quiet: bool = False
    launch: Launch = field(default_factory=Launch)
    started: float = field(default_factory=time.monotonic)

    @property
    def settings(self) -> TrainingSettings:
        """The recipe's `[training]`."""
        return self.recipe.training

    @property
    def device(self) -> torch.device:
        """This process's device."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and calls hooks."""
        main: bool = self.accelerator.is_main_process
        return main

    @property
    def seconds(self) -> float:
        """How long this call has taken."""
        return time.monotonic() - self.started

    def tell(self, hook: str, **arguments: Any) -> list[Any]:
        """Call a hook with the run's folder; returns what its implementations return, without `None`."""
        if not self.main:
            return []
        returned: list[Any] = getattr(self.plugins.hook, hook)(run=self.run.folder, **arguments)
        return returned

    def note(self, message: str) -> None:
        """Tell the user something."""
        if self.main:
            self.plugins.hook.mmkit_note(message=message)

    def progress(self, label: str, done: int, total: int) -> None:
        """Report the progress of a long job."""
        if self.main:
            self.plugins.hook.mmkit_progress(label=label, done=done, total=total)

    def stopped(self, reason: str) -> TrainingStopped:
        """The error that ends a run after a hook asked to stop."""
        return TrainingStopped(
            f"a hook stopped the training: {reason}", where=self.run.folder, hint=self._how_to_resume()
        )

    def _how_to_resume(self) -> str:
        resume = f"mmkit train {self.run.recipe_file} --resume --output {self.run.folder}"
        return f"resume with: {resume}" if self.run.recipe_file.exists() else "nothing was trained yet"

    def interrupted(self, what: str) -> Interrupted:
        """The error that ends a run after a request to stop."""
        error = Interrupted(
            f"stopped by {self.stop.name}; {what}",
            where=self.run.folder,
            hint=self._how_to_resume(),
            code="training.interrupted",
        )
        error.exit_code = self.stop.exit_code
        return error
