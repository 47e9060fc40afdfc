"""Hooks: the moments at which a plugin is called. This file is their documentation.

A plugin implements any of the functions below in a module of its own and names that module as an entry point:

    [project.entry-points.mmkit]
    my_tracker = "my_package.hooks"

    # my_package/hooks.py
    from mmkit.hooks import hookimpl

    @hookimpl
    def mmkit_evaluated(run, split, epoch, step, figures):
        tracker.log(figures, step=step)

An implementation may leave out arguments that it does not need. Hook modules must not import torch or transformers at
the top, because every command loads them. A plugin that cannot be loaded is reported by name; the others keep
working. With several processes, run hooks are called only in the main one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from mmkit.errors import PartError, Terminated, did_you_mean, one_line

if TYPE_CHECKING:
    import click

    from mmkit.data.problems import Problem
    from mmkit.data.types import Example, Prediction
    from mmkit.pages import Page
    from mmkit.recipe import Recipe

hookspec = pluggy.HookspecMarker("mmkit")
hookimpl = pluggy.HookimplMarker("mmkit")


class Specs:
    """The hooks. `run` is the run's folder; `figures` are scores: plain floats named `<metric>.<name>`."""

    @hookspec
    def mmkit_commands(self, cli: click.Group) -> None:
        """Add click commands: `cli.add_command(my_command)`."""

    @hookspec
    def mmkit_command_options(self, command: click.Command) -> None:
        """Add options to a command of mmkit, once, before it is used: `command.params.append(click.Option(...))`.

        The command does not know the option: give it `expose_value=False` and a `callback`. `command.name` says which
        command it is. For `predict` and `annotate`, an option may choose where the work is done: see
        `mmkit.inference.executor`.
        """

    @hookspec
    def mmkit_recipe_folders(self) -> list[Path]:  # type: ignore[empty-body]
        """Folders of `*.cfg` recipes that come with the plugin; users name one by its file name."""

    @hookspec
    def mmkit_upgrade(self, recipe: dict[str, Any]) -> None:
        """Bring a recipe of an older form up to date, in place, before it is checked.

        `recipe` is the content of the file as nested dicts, with overrides applied and references resolved, but not
        yet checked. A plugin changes settings that belonged to another part before and are its own now, so that older
        recipes and runs keep their meaning. `mmkit.config.upgrade.parts_named` finds the sections of a part.
        """

    @hookspec
    def mmkit_importers(self) -> dict[str, Any]:  # type: ignore[empty-body]
        """Paper name → `"module:Class"` of a `mmkit.runs.importing.Importer`, for `import-checkpoint PAPER`."""

    @hookspec(firstresult=True)
    def mmkit_open_run(self, address: str) -> Path | None:
        """Turn an address that a user named, `scheme://...`, into a local run folder; None for another's scheme.

        `mmkit.load`, `mmkit.evaluate` and the commands that take a RUN call it (`mmkit.runs.opening.open_run`). The
        folder is only read. Call `mmkit.access.network.check_network` before you contact a server. Raise `RunError`
        for what cannot be opened.
        """

    @hookspec(firstresult=True)
    def mmkit_folder_page(self, folder: Path) -> Page | None:
        """What `mmkit report FOLDER` shows of a folder that the plugin wrote; None for any other folder.

        It is not called for a run. The folder may be somebody else's: it is only read. Raise `RunError` for one that is
        the plugin's but is damaged.
        """

    @hookspec
    def mmkit_prediction_forms(self) -> dict[str, str]:  # type: ignore[empty-body]
        """Name → `"module:Class"` of a `mmkit.data.predictions.PublishedForm`, which `mmkit score` reads too."""

    @hookspec
    def mmkit_schedules(self) -> dict[str, str]:  # type: ignore[empty-body]
        """Name → `"module:function"`: a learning-rate schedule that `training.schedule` may name.

        The function gets
        `total` and `warmup`, numbers of updates (or epochs). It returns a function that gives the factor of the
        learning rate for the update after `n`: `Callable[[int, int], Callable[[int], float]]`.
        """

    @hookspec
    def mmkit_optimizers(self) -> dict[str, str]:  # type: ignore[empty-body]
        """Name → `"module:Class"`: a `torch.optim.Optimizer` that `training.optimizer` may name.

        The class gets parameter groups (`params`, `lr`, `weight_decay`) and `betas`. The groups' `lr` is set before
        each update. Its `state` of a parameter must consist of tensors: `--resume` restores them by name.
        """

    @hookspec
    def mmkit_trackers(self) -> dict[str, str]:  # type: ignore[empty-body]
        """Name → `"module:Class"` of a `mmkit.trackers.Tracker`, which `training.trackers` may name."""

    @hookspec
    def mmkit_search_engines(self) -> dict[str, str]:  # type: ignore[empty-body]
        """Name → `"module:Class"` of a `mmkit.decoders.engines.EntityEngine`, which a linker's `search` may name."""

    @hookspec
    def mmkit_progress(self, label: str, done: int, total: int) -> None:
        """Progress of work before training (annotations, stored features), or of the prediction of files.

        `done == total` ends it; a `total` of 0 is not known.
        """

    @hookspec
    def mmkit_note(self, message: str) -> None:
        """Something that the user should know: what a reader skipped, images that were replaced by blank ones."""

    @hookspec
    def mmkit_data_read(  # type: ignore[empty-body]
        self, recipe: Recipe, data: dict[str, Any], runs: Sequence[Path]
    ) -> dict[str, list[Problem]]:
        """A recipe's data were read, and nothing is trained or scored yet: split → what the user should know of it.

        `data` is split → its `records`, `files` (each with its `sha256`) and `repairs`, as in `run.json`. `runs` are
        folders of trained runs: the one to be scored, and those that the recipe builds on or starts from. They may be
        missing. A problem whose `level` is "error" stops what was to be done.
        """

    @hookspec
    def mmkit_run_start(self, run: Path, recipe: Recipe, total_steps: int, quiet: bool) -> None:
        """Training is about to begin (or to resume: `run` may hold a checkpoint)."""

    @hookspec
    def mmkit_epoch_start(self, run: Path, epoch: int, steps: int) -> None:
        """Epoch `epoch` (from 1) begins; `steps` of its updates are left."""

    @hookspec
    def mmkit_step(self, run: Path, epoch: int, step: int, examples: int) -> None:
        """One update was made of `examples` examples. Must be cheap and must not wait for the device."""

    @hookspec
    def mmkit_logged(self, run: Path, epoch: int, step: int, figures: dict[str, float]) -> None:
        """Averages over the last `training.log_every` updates: losses by name, learning rate, examples a second."""

    @hookspec
    def mmkit_evaluated(
        self, run: Path, split: str, epoch: int, step: int, figures: dict[str, float], best: bool
    ) -> str | None:
        """A split was scored; `best` if it is the best development score so far.

        An implementation may return a text, the reason to stop training here. Then all other implementations are still
        called, a checkpoint is saved, `mmkit_run_end` says `interrupted`, and `train` raises
        `mmkit.errors.TrainingStopped` with the reason. `--resume` continues the run. After the last epoch, when the
        splits are scored with the best weights, what is returned is ignored.
        """

    @hookspec
    def mmkit_checkpoint(self, run: Path, epoch: int, step: int, best: bool) -> None:
        """A checkpoint is completely on disk (`best`: the run's `model.safetensors`, else `checkpoint/`)."""

    @hookspec
    def mmkit_scored(
        self,
        folder: Path,
        split: str,
        recipe: Recipe,
        examples: Sequence[Example],
        predictions: Sequence[Prediction],
    ) -> None:
        """A split was scored, and its predictions are written: a plugin may add files of its own.

        `mmkit evaluate` calls it, and training at its end, for each split that it scores with the best epoch's weights.

        `folder` is the run's, or the --output of the user. `predictions[i]` is for `examples[i]`. The run may be
        somebody else's: write nothing outside `folder` (`mmkit.files.check_inside` refuses links that lead out of it).
        """

    @hookspec
    def mmkit_run_end(self, run: Path, status: str, summary: dict[str, Any]) -> None:
        """The run is over: `status` is completed, stopped (early stopping), interrupted or failed.

        `summary` is the
        content of `run.json`; for a run that was interrupted or failed, only its `seconds`.
        """


_manager: pluggy.PluginManager | None = None
broken: dict[str, str] = {}
"""Plugins that could not be loaded, or that failed in `call_each`: entry-point name → reason."""


def manager() -> pluggy.PluginManager:
    """The plugin manager, with every installed hook module loaded (once in each process)."""
    global _manager  # noqa: PLW0603 - one per process, made on first use
    if _manager is None:
        _manager = pluggy.PluginManager("mmkit")
        _manager.add_hookspecs(Specs)
        _load_entry_points(_manager)
    return _manager


def _load_entry_points(plugins: pluggy.PluginManager) -> None:
    """Load one by one: pluggy's own loader stops at the first broken entry point."""
    for entry in entry_points(group="mmkit"):
        try:
            _register(plugins, entry.load(), entry.name)
        except Terminated:
            raise
        except (Exception, SystemExit) as error:  # a plugin's import may raise anything
            package = entry.dist.name if entry.dist else "?"
            broken[entry.name] = f"{package}: {one_line(error)}"


def _register(plugins: pluggy.PluginManager, implementation: object, name: str | None = None) -> None:
    """Register an implementation. Refuse unknown hooks: pluggy would ignore them silently."""
    if plugins.register(implementation, name=name) is None:
        raise PartError(f"hook implementation {implementation!r} is blocked", code="plugin.hook-blocked")
    for hook in plugins.get_hookcallers(implementation) or ():
        if not hook.has_spec():
            plugins.unregister(implementation)
            known = [known for known in vars(Specs) if known.startswith("mmkit_")]
            raise PartError(
                f"there is no hook {hook.name!r}",
                hint=did_you_mean(hook.name, known),
                code="plugin.unknown-hook",
            )


def call_each(hook: str, **arguments: Any) -> Iterator[tuple[str, Any]]:
    """Call a hook plugin by plugin; yields (plugin, result). One that raises goes to `broken`."""
    plugins = manager()
    for implementation in getattr(plugins.hook, hook).get_hookimpls():
        name = implementation.plugin_name
        others = [plugin for plugin in plugins.get_plugins() if plugin is not implementation.plugin]
        try:
            for result in plugins.subset_hook_caller(hook, others)(**arguments):
                yield name, result
        except Exception as error:  # a plugin may raise anything
            broken[name] = f"{hook}: {one_line(error)}"


def load_target(target: str) -> Any:
    """Import the object that `"module:name"` names; hooks use this form for what is imported only when needed."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def load_named(unloadable: str, target: str, *, code: str) -> Any:
    """The object that `"module:name"` names, which a plugin brings.

    Raises `PartError` with `code`: `unloadable` and the reason if it cannot be imported.
    """
    try:
        return load_target(target)
    except Terminated:
        raise
    except (Exception, SystemExit) as error:  # a plugin's import may raise anything
        raise PartError(f"{unloadable}: {one_line(error)}", where=target, code=code) from error


def load_class(unloadable: str, wrong: str, target: str, base: type, *, code: str) -> Any:
    """The class that `"module:Class"` names, which a plugin brings and which must derive from `base`.

    Raises `PartError` with `code`: `unloadable` and the reason if it cannot be imported, else `wrong`.
    """
    found = load_named(unloadable, target, code=code)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise PartError(wrong, where=target, code=code)
    return found


def recipes_of(file: str | Path) -> list[Path]:
    """For `mmkit_recipe_folders`: the folder `recipes` beside the module `file`, as in a wheel.

    If there is none, the
    folder at the top of the repository in which `plugins/NAME/PACKAGE/` is the module's folder.
    """
    package = Path(file).resolve().parent
    return [folder for folder in (package / "recipes", package.parents[2] / "recipes") if folder.is_dir()][:1]


@contextmanager
def registered(*implementations: object) -> Iterator[pluggy.PluginManager]:
    """The manager, with `implementations` (objects or modules with hookimpls) registered during the block."""
    plugins = manager()
    added: list[object] = []
    try:
        for implementation in implementations:
            _register(plugins, implementation)
            added.append(implementation)
        yield plugins
    finally:
        for implementation in added:
            plugins.unregister(implementation)
