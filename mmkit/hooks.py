"""Hooks: the moments at which a plugin is called. This file is their documentation.

A plugin implements any of the functions below in a module of its own and names that module as an entry point:

    [project.entry-points.mmkit]
    my_tracker = "my_package.hooks"

    # my_package/hooks.py
    from mmkit.hooks import hookimpl

    @hookimpl
    def mmkit_evaluated(run, split, epoch, step, figures):
        tracker.log(figures, step=step)

An implementation may leave out arguments it does not need. Hook modules must not import torch or transformers at the
top: they are loaded by every command. A plugin that cannot be loaded is reported by name; the rest keep working.
Under several processes, run hooks are called in the main one only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from mmkit.errors import PartError

if TYPE_CHECKING:
    import click

    from mmkit.recipe import Recipe

hookspec = pluggy.HookspecMarker("mmkit")
hookimpl = pluggy.HookimplMarker("mmkit")


class Specs:
    """The hook specifications. `run` is the run's folder; figures are plain floats named `<metric>.<name>`."""

    @hookspec
    def mmkit_commands(self, cli: click.Group) -> None:
        """Add click commands: `cli.add_command(my_command)`."""

    @hookspec
    def mmkit_recipe_folders(self) -> list[Path]:  # type: ignore[empty-body]
        """Folders of `*.cfg` recipes that come with the plugin; users name a recipe in them by its file name."""

    @hookspec
    def mmkit_importers(self) -> dict[str, Any]:  # type: ignore[empty-body]
        """Paper name → `"module:Class"` of a `mmkit.importing.Importer`, for `mmkit import-checkpoint PAPER`."""

    @hookspec
    def mmkit_progress(self, label: str, done: int, total: int) -> None:
        """Work before training (annotations, stored features) has come this far; `done == total` ends it."""

    @hookspec
    def mmkit_note(self, message: str) -> None:
        """Something the user should know: what a reader skipped, pictures that were blanked, where results lie."""

    @hookspec
    def mmkit_run_start(self, run: Path, recipe: Recipe, total_steps: int, quiet: bool) -> None:
        """Training is about to begin (or to go on: `run` may hold a checkpoint)."""

    @hookspec
    def mmkit_epoch_start(self, run: Path, epoch: int, steps: int) -> None:
        """Epoch `epoch` (from 1) begins; `steps` updates of it are still to be done."""

    @hookspec
    def mmkit_step(self, run: Path, epoch: int, step: int, examples: int) -> None:
        """One update was made of `examples` examples. Called often: must be cheap and must not wait for the device."""

    @hookspec
    def mmkit_logged(self, run: Path, epoch: int, step: int, figures: dict[str, float]) -> None:
        """Training figures over the last `training.log_every` updates: losses by name, learning rate, examples/s."""

    @hookspec
    def mmkit_evaluated(
        self, run: Path, split: str, epoch: int, step: int, figures: dict[str, float], best: bool
    ) -> None:
        """A split was scored; `best` if it is the best development score so far."""

    @hookspec
    def mmkit_checkpoint(self, run: Path, epoch: int, step: int, best: bool) -> None:
        """A checkpoint is completely on disk (`best`: the run's `model.safetensors`, else `checkpoint/`)."""

    @hookspec
    def mmkit_run_end(self, run: Path, status: str, summary: dict[str, Any]) -> None:
        """The run is over: `status` is completed, stopped (early stopping), interrupted or failed."""


_manager: pluggy.PluginManager | None = None
broken: dict[str, str] = {}
"""Plugins that could not be loaded: entry-point name → reason."""


def manager() -> pluggy.PluginManager:
    """The plugin manager, with every installed hook module loaded (once a process)."""
    global _manager  # noqa: PLW0603 - one per process, made on first use
    if _manager is None:
        _manager = pluggy.PluginManager("mmkit")
        _manager.add_hookspecs(Specs)
        _load_entry_points(_manager)
    return _manager


def _load_entry_points(plugins: pluggy.PluginManager) -> None:
    """Load one by one: pluggy's own loader stops at the first broken entry point."""
    from importlib.metadata import entry_points

    for entry in entry_points(group="mmkit"):
        try:
            plugins.register(entry.load(), name=entry.name)
        except Exception as error:  # a plugin's import may raise anything
            package = entry.dist.name if entry.dist else "?"
            broken[entry.name] = f"{package}: {type(error).__name__}: {error}"


@contextmanager
def registered(*implementations: object) -> Iterator[pluggy.PluginManager]:
    """The manager with `implementations` (objects or modules with hookimpls) added for the time of a block."""
    plugins = manager()
    for implementation in implementations:
        if plugins.register(implementation) is None:
            raise PartError(f"hook implementation {implementation!r} is registered already")
    try:
        yield plugins
    finally:
        for implementation in implementations:
            plugins.unregister(implementation)
