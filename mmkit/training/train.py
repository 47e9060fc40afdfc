"""Training a recipe, from its data to a scored run folder. Callable from Python; the command line only wraps it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from pluggy import PluginManager

from mmkit.checking.check import lacking
from mmkit.data.types import Prediction
from mmkit.errors import Interrupted, PartError
from mmkit.hooks import registered
from mmkit.inference.devices import make_accelerator, pick_precision
from mmkit.inference.evaluation import checked_metrics, evaluate_items, score, weighted_score
from mmkit.inference.features import check_mentions, check_pictures, prepare_entities, prepare_features
from mmkit.inference.loader import Loader
from mmkit.inference.memory import memory_advice, peak_memory
from mmkit.loading.split import ENTITIES, Split
from mmkit.loading.splits import read_splits, split_names
from mmkit.model import Item, Model, assemble, fitting_parts
from mmkit.recipe import Recipe
from mmkit.runs.folder import Run, default_folder, environment
from mmkit.runs.weights import load_tensors, load_weights
from mmkit.training.checkpoint import load_checkpoint, save_checkpoint
from mmkit.training.loop import Loop, Update
from mmkit.training.metrics_log import MetricsLog, rewind
from mmkit.training.optimizer import make_optimizer
from mmkit.training.resume import check_data, open_folder
from mmkit.training.stopping import StopSignal
from mmkit.training.watch import Watch

AGREE_EVERY = 10
"""Updates after which several processes ask one another whether to stop (each time they wait for all)."""


def train(
    recipe: Recipe,
    output: str | Path | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
    quiet: bool = False,
    hooks: Sequence[object] = (),
) -> dict[str, Any]:
    """Train `recipe` into the run folder `output`, score its best epoch, and return the content of `run.json`.

    `hooks` are hook implementations beside the installed plugins' (a display, a tracker). With `resume`, an
    interrupted run goes on from its last checkpoint; on the CPU the result is the uninterrupted one's, bit for bit.
    Without `output` the folder is `runs/<recipe>/<time>`.

    Raises `MMKitError` subclasses for whatever the user can mend, among them `Interrupted` on Ctrl-C or SIGTERM:
    between two updates everything is saved first.
    """
    accelerator = make_accelerator(device)
    folder = broadcast_object_list([str(output or default_folder(recipe))])[0]
    own = [*hooks, MetricsLog()] if accelerator.is_main_process else []
    with registered(*own) as plugins, memory_advice(recipe.training), StopSignal() as stop:
        session = Session(recipe, Run(folder), accelerator, plugins, stop, quiet)
        try:
            return session.run_to_the_end(resume)
        except KeyboardInterrupt:
            raise session.interrupted("what was saved stays") from None
        finally:
            if session.main:
                session.run.discard_if_empty()


@dataclass
class Session:
    """One call of `train`: the objects its steps share."""

    recipe: Recipe
    run: Run
    accelerator: Accelerator
    plugins: PluginManager
    stop: StopSignal
    quiet: bool

    def run_to_the_end(self, resume: bool) -> dict[str, Any]:
        """Data → model → features → updates with evaluations → test scores."""
        self.started = time.monotonic()
        self.settings, self.device = self.recipe.training, self.accelerator.device
        self.precision = pick_precision(self.settings.precision, self.device, training=True)
        if self.main:
            open_folder(self.run, self.recipe, resume)
        fitting_parts(self.recipe)  # a mistake is said before annotators run
        if absent := lacking(self.recipe):
            raise PartError("\n".join(absent), where=self.recipe.path)
        self.metrics = checked_metrics(self.recipe)
        splits = self._read()
        self.model = self._assemble(splits)
        self.items = {name: self.model.items(splits[name].examples) for name in split_names(self.recipe)}
        self.facts = self._begin(splits)
        self.facts["features"] = self._prepare_features(splits)
        loop = self._loop()
        total = loop.steps_per_epoch * self.settings.epochs
        self._tell("mmkit_run_start", recipe=self.recipe, total_steps=total, quiet=self.quiet)
        try:
            self._fit(loop)
            summary = self._finish()
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | Interrupted)
            status = "interrupted" if stopped else "failed"
            self._tell("mmkit_run_end", status=status, summary={"seconds": self.seconds})
            raise
        self._tell("mmkit_run_end", status=summary["status"], summary=summary)
        return summary

    # before the updates

    def _read(self) -> dict[str, Split]:
        names = self.recipe.parts("data")
        splits = read_splits(self.recipe, names, str(self.device), self._progress)
        for split in splits.values():
            for note in split.notes():
                self._note(note)
        return splits

    def _assemble(self, splits: dict[str, Split]) -> Model:
        entities = splits[ENTITIES].entities if ENTITIES in splits else ()
        model = assemble(self.recipe, examples=splits["train"].examples, entities=entities)
        return model.to(self.device)

    def _begin(self, splits: dict[str, Split]) -> dict[str, Any]:
        """Write what there is of the run before its first update; returns what becomes of `run.json`."""
        data = {name: split.origin for name, split in splits.items()}
        facts = {**environment(self.recipe, self.device), "precision": self.precision, "data": data}
        if self.run.json_file.exists():
            begun = self.run.facts()
            check_data(begun, facts)
            facts |= {key: begun[key] for key in ("started", "recipe") if key in begun}
        self.accelerator.wait_for_everyone()
        if self.main:
            self.run.save_recipe(self.recipe, self.model)
            self.run.save_json({**facts, "status": "unfinished"})
        return facts

    def _prepare_features(self, splits: dict[str, Split]) -> dict[str, Any]:
        examples = [example for split in splits.values() for example in split.examples]
        self.model.decoder.check([item.example for item in self.items["train"]])
        notes = [n for name in self.items for n in check_mentions(self.model, name, splits[name].examples)]
        notes += check_pictures(self.model, examples)
        notes += prepare_entities(self.model, self.device, self.settings, self._progress)
        for note in notes:
            self._note(note)
        reports = prepare_features(self.model, examples, self.device, self.settings, self._progress)
        for name, report in reports.items():
            self._note(f"model.encoders.{name}: {report}")
        return {
            name: {"items": report.items, "missing": len(report.missing), "broken": len(report.broken)}
            for name, report in reports.items()
        }

    def _loop(self) -> Loop:
        """The updates that are to be made, from the last checkpoint on if there is one."""
        settings = self.settings
        self.optimizer = make_optimizer(self.model, settings)
        self.progress = load_checkpoint(self.run.checkpoint, self.model, self.optimizer)
        if self.run.weights_step() != self.progress.best_step:
            self.progress.best_score = None  # killed between a new best and its checkpoint: it comes again
        self.started -= self.progress.seconds
        if self.main:
            rewind(self.run.folder, self.progress.log_bytes)
        if settings.compile:
            self.model.compile_encoders()
        return Loop(
            self.accelerator.prepare_model(self.model),
            Loader(self.model, self.items["train"], settings.workers),
            self.optimizer,
            settings,
            self.accelerator,
            self.recipe.seed,
            self.precision,
            self.progress,
        )

    # the updates

    def _fit(self, loop: Loop) -> None:
        """Make updates, and what is due after each, until the last epoch's end or early stopping."""
        watch = Watch(self.accelerator, [p for group in self.optimizer.param_groups for p in group["params"]])
        with self.stop.deferred():
            while self.progress.epoch <= self.settings.epochs and not self._stale:
                self._tell("mmkit_epoch_start", epoch=self.progress.epoch, steps=loop.steps_left)
                for update in loop.epoch():
                    self._follow(update, watch)
                    if self._stale:
                        break
        if not self.progress.best_step:  # nothing to choose by: the last epoch is kept
            self._keep_as_best(self.progress.epoch - 1)

    def _follow(self, update: Update, watch: Watch) -> None:
        """What is due after an update: figures, an evaluation, a checkpoint, or to stop."""
        settings = self.settings
        watch.add(update)
        self._tell("mmkit_step", epoch=update.epoch, step=update.step, examples=len(update.examples))
        log = update.last_of_epoch or _every(settings.log_every, update)
        evaluate = self._evaluation_is_due(update)
        stop = self._stop_is_asked_for(update)
        save = evaluate or stop or update.last_of_epoch or _every(settings.checkpoint_every, update)
        if log or save or _every(settings.check_every, update):
            watch.check()
        if log:
            figures = {**watch.figures(), "learning_rate": self.optimizer.param_groups[0]["lr"]}
            self._tell("mmkit_logged", epoch=update.epoch, step=update.step, figures=figures)
        if evaluate:
            self._evaluate(update)
        if save:
            self._save(update.epoch)
        if stop:
            raise self.interrupted(f"everything is saved after update {update.step}")

    def _evaluation_is_due(self, update: Update) -> bool:
        if "dev" not in self.items or update.epoch < self.settings.eval_from:
            return False
        return update.last_of_epoch or _every(self.settings.eval_every, update)

    def _stop_is_asked_for(self, update: Update) -> bool:
        """Whether to stop after this update: several processes have to agree on it."""
        asked = self.stop.received is not None
        if self.accelerator.num_processes == 1:
            return asked
        if not (update.last_of_epoch or _every(AGREE_EVERY, update)):
            return False
        if asked:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()

    @property
    def _stale(self) -> bool:
        return 0 < self.settings.patience <= self.progress.stale

    def _evaluate(self, update: Update) -> None:
        figures, _ = self._score("dev")
        value = weighted_score(figures, self.settings.score)
        better = self.progress.is_better(value, self.settings.ties)
        place = {"split": "dev", "epoch": update.epoch, "step": update.step}
        self._tell("mmkit_evaluated", **place, figures=figures, best=better)
        if better:
            self._keep_as_best(update.epoch)

    def _score(self, split: str) -> tuple[dict[str, float], list[Prediction]]:
        """Figures and predictions of a split; processes share the work, and all of them get the result."""
        items: list[Item] = self.items[split]
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        # not compiled, so that `mmkit evaluate` gives the same to the bit
        with torch.compiler.set_stance("force_eager") if self.settings.compile else nullcontext():
            found = evaluate_items(
                self.model,
                items,
                self.settings.eval_batch_size,
                self.precision,
                workers=self.settings.workers,
                rank=rank,
                processes=processes,
            )
            evaluated = sorted(gather_object(list(found)), key=lambda one: one.index)
        predictions, ranks = [one.prediction for one in evaluated], [one.rank for one in evaluated]
        return score(self.metrics, [item.example for item in items], predictions, ranks), predictions

    def _keep_as_best(self, epoch: int) -> None:
        self.progress.best_epoch, self.progress.best_step = epoch, self.progress.step
        if self.main:
            self.run.save_weights(self.model, self.settings.save_frozen, self.progress.step)
        self._tell("mmkit_checkpoint", epoch=epoch, step=self.progress.step, best=True)

    def _save(self, epoch: int) -> None:
        self.progress.seconds = self.seconds
        if self.main:
            log = self.run.metrics_file
            self.progress.log_bytes = log.stat().st_size if log.exists() else 0
            save_checkpoint(self.run.checkpoint, self.model, self.optimizer, self.progress)
        self._tell("mmkit_checkpoint", epoch=epoch, step=self.progress.step, best=False)
        self.accelerator.wait_for_everyone()

    # after the updates

    def _finish(self) -> dict[str, Any]:
        """Score the best epoch, write predictions and `run.json`, and drop what only resuming needs."""
        self.accelerator.wait_for_everyone()
        state = load_tensors(self.run.weights_file)
        load_weights(self.model, state, self.run.weights_file, only=set(state))
        progress, figures = self.progress, {}
        for split in (name for name in self.items if name != "train"):
            figures[split], predictions = self._score(split)
            if self.main:
                self.run.save_predictions(split, predictions)
            if split != "dev":
                place = {"split": split, "epoch": progress.best_epoch, "step": progress.best_step}
                self._tell("mmkit_evaluated", **place, figures=figures[split], best=False)
        summary = {
            **self.facts,
            "status": "stopped" if self._stale else "completed",
            "epochs": progress.epoch - 1,
            "updates": progress.step,
            "best_epoch": progress.best_epoch,
            "figures": figures,
            "seconds": round(self.seconds, 1),
            "peak_memory_bytes": peak_memory(self.device),
        }
        if self.main:
            self.run.save_json(summary)
            self.run.remove_checkpoint()
        self.accelerator.wait_for_everyone()
        return summary

    def interrupted(self, what: str) -> Interrupted:
        """The error that ends a run which was asked to stop."""
        resume = f"mmkit train {self.run.recipe_file} --resume --output {self.run.folder}"
        error = Interrupted(
            f"stopped by {self.stop.name}; {what}",
            where=self.run.folder,
            hint=f"go on with: {resume}" if self.run.recipe_file.exists() else "nothing was trained yet",
        )
        error.exit_code = self.stop.exit_code
        return error

    # talking

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes and talks."""
        return self.accelerator.is_main_process

    @property
    def seconds(self) -> float:
        """How long the run has taken, what came before resuming included."""
        return time.monotonic() - self.started

    def _tell(self, hook: str, **arguments: Any) -> None:
        if self.main:
            getattr(self.plugins.hook, hook)(run=self.run.folder, **arguments)

    def _note(self, message: str) -> None:
        if self.main:
            self.plugins.hook.mmkit_note(message=message)

    def _progress(self, label: str, done: int, total: int) -> None:
        if self.main:
            self.plugins.hook.mmkit_progress(label=label, done=done, total=total)


def _every(interval: int, update: Update) -> bool:
    return bool(interval) and update.step % interval == 0
