"""Training a recipe, from its data to a scored run folder. Callable from Python; the command line only wraps it."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from pluggy import PluginManager

from mmkit.data.types import Prediction
from mmkit.errors import Interrupted, RecipeError, RunError
from mmkit.hooks import registered
from mmkit.model import Item, assemble
from mmkit.recipe import Recipe
from mmkit.run import Run, environment
from mmkit.splits import read_splits, split_names
from mmkit.training.batches import Loader
from mmkit.training.checkpoint import Progress, load_checkpoint, load_tensors, load_weights, save_checkpoint
from mmkit.training.devices import pick_precision, use_device
from mmkit.training.evaluation import predict_items, score
from mmkit.training.features import prepare_features
from mmkit.training.loop import StopSignal, Update, Watch, memory_advice, updates
from mmkit.training.metrics_log import MetricsLog
from mmkit.training.optimizer import Schedule, make_optimizer


def train(
    recipe: Recipe,
    output: str | Path,
    *,
    resume: bool = False,
    device: str = "auto",
    quiet: bool = False,
    hooks: Sequence[object] = (),
) -> dict[str, Any]:
    """Train `recipe` into the run folder `output`, score its best epoch, and return the content of `run.json`.

    `hooks` are hook implementations beside the installed plugins' (a display, a tracker). With `resume`, an
    interrupted run goes on from its last checkpoint; on the CPU the result is the uninterrupted one's, bit for bit.
    Raises `MMKitError` subclasses for whatever the user can mend, `Interrupted` after saving on Ctrl-C or SIGTERM.
    """
    use_device(device)
    accelerator = Accelerator(
        cpu=device == "cpu", kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)]
    )
    own = [*hooks, MetricsLog()] if accelerator.is_main_process else []
    with registered(*own) as plugins, memory_advice(recipe.training):
        session = Session(recipe, Run(output), accelerator, plugins, quiet)
        return session.run_to_the_end(resume)


@dataclass
class Session:
    """One call of `train`: the objects its steps share."""

    recipe: Recipe
    run: Run
    accelerator: Accelerator
    plugins: PluginManager
    quiet: bool

    def run_to_the_end(self, resume: bool) -> dict[str, Any]:
        """Data → model → features → updates with evaluations → test scores."""
        started = time.monotonic()
        settings = self.recipe.training
        device = self.accelerator.device
        self.precision = pick_precision(settings.precision, device)
        self._open(resume)
        self.splits = read_splits(self.recipe, self.recipe.parts("data"), str(device), self._progress)
        self._tell_repairs()
        self.metrics = {name: self.recipe.build(f"metrics.{name}") for name in self.recipe.parts("metrics")}
        entities = self.splits["entities"].entities if "entities" in self.splits else []
        self.model = assemble(self.recipe, examples=self.splits["train"].examples, entities=entities)
        self.items = {name: self.model.items(self.splits[name].examples) for name in split_names(self.recipe)}
        if self.main and not resume:
            self.run.save_recipe(self.recipe, self.model)
        self.facts = {**environment(self.recipe, device), "precision": self.precision}
        self.facts["data"] = {name: split.origin for name, split in self.splits.items()}
        self.model.to(device)
        records = [x for split in self.splits.values() for x in split.records]
        self.facts["features"] = {}
        for name, report in prepare_features(self.model, records, device, settings, self._progress).items():
            self.facts["features"][name] = {
                "items": report.items,
                "missing": len(report.missing),
                "broken": len(report.broken),
            }
            self._note(f"model.encoders.{name}: {report}")
        self._fit(resume, started)
        return self._finish("stopped" if self._stale else "completed", started)

    # the updates

    def _fit(self, resume: bool, started: float) -> None:
        settings = self.recipe.training
        optimizer = make_optimizer(self.model, settings)
        self.progress = load_checkpoint(self.run.checkpoint, self.model, optimizer) if resume else Progress()
        earlier = self.progress.seconds
        if resume:
            self._truncate_log()
        if settings.compile:
            self.model.compile()
        wrapped = self.accelerator.prepare_model(self.model)
        items = self.items["train"]
        steps = -(-len(items) // settings.batch_size)
        schedule = Schedule(optimizer, settings, steps)
        loader = Loader(self.model, items, settings.workers, pin=self.accelerator.device.type == "cuda")
        watch, since = Watch(), (time.monotonic(), self.progress.step)
        self._call(
            "mmkit_run_start", recipe=self.recipe, total_steps=steps * settings.epochs, quiet=self.quiet
        )
        with StopSignal() as stop:
            if not self._stale:
                self._call("mmkit_epoch_start", epoch=self.progress.epoch, steps=steps - self.progress.done)
                for update in updates(
                    wrapped,
                    items,
                    loader,
                    optimizer,
                    schedule,
                    settings,
                    self.accelerator,
                    self.recipe.seed,
                    self.progress,
                    self.precision,
                ):
                    watch.add(update)
                    self._call(
                        "mmkit_step", epoch=update.epoch, step=update.step, examples=len(update.examples)
                    )
                    stopping = self._should_stop(stop)
                    evaluate = self._evaluation_due(update)
                    save = (
                        evaluate
                        or update.last_of_epoch
                        or stopping
                        or _every(settings.checkpoint_every, update)
                    )
                    if save or _every(settings.check_every, update):
                        watch.check(update.step)
                    if update.last_of_epoch or _every(settings.log_every, update):
                        since = self._log(update, watch, optimizer.param_groups[0]["lr"], since)
                    if evaluate:
                        self._evaluate(update)
                    self.progress.seconds = earlier + time.monotonic() - started
                    if save:
                        self._save(optimizer, update.epoch)
                    if stopping:
                        self._interrupt(stop)
                    if self._stale:
                        break
                    if update.last_of_epoch and self.progress.epoch <= settings.epochs:
                        self._call("mmkit_epoch_start", epoch=self.progress.epoch, steps=steps)
        if not self.progress.best_step:  # nothing to choose by: the last epoch is kept
            self._keep_as_best(self.progress.epoch - 1)

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes and talks."""
        return self.accelerator.is_main_process

    @property
    def _stale(self) -> bool:
        patience = self.recipe.training.patience
        return bool(patience) and self.progress.stale >= patience

    def _should_stop(self, stop: StopSignal) -> bool:
        """Whether any process was asked to stop: all of them have to agree on the update to stop after."""
        asked = stop.received is not None
        if self.accelerator.num_processes == 1:
            return asked
        return any(gather_object([asked]))

    def _evaluation_due(self, update: Update) -> bool:
        settings = self.recipe.training
        if "dev" not in self.items or update.epoch < settings.eval_from:
            return False
        return update.last_of_epoch or _every(settings.eval_every, update)

    def _evaluate(self, update: Update) -> None:
        figures, _ = self._score("dev")
        value = weighted_score(figures, self.recipe.training.score)
        best, ties = self.progress.best_score, self.recipe.training.ties
        better = best is None or value > best or (value == best and ties == "later")
        if better:
            self.progress.best_score, self.progress.figures = value, figures
            self.progress.best_epoch, self.progress.best_step = update.epoch, update.step
        self.progress.stale = 0 if better else self.progress.stale + 1
        self._call(
            "mmkit_evaluated", split="dev", epoch=update.epoch, step=update.step, figures=figures, best=better
        )
        if better:
            self._keep_as_best(update.epoch)

    def _keep_as_best(self, epoch: int) -> None:
        if self.main:
            self.run.save_weights(self.model, self.recipe.training.save_frozen)
        self._call("mmkit_checkpoint", epoch=epoch, step=self.progress.step, best=True)
        self.progress.best_epoch, self.progress.best_step = epoch, self.progress.step

    def _score(self, split: str) -> tuple[dict[str, float], list[Prediction]]:
        """Figures and predictions of a split; processes share the work, and all of them get the result."""
        items: list[Item] = self.items[split]
        settings = self.recipe.training
        pairs = list(
            predict_items(
                self.model,
                items,
                settings.eval_batch_size,
                self.precision,
                workers=settings.workers,
                rank=self.accelerator.process_index,
                processes=self.accelerator.num_processes,
            )
        )
        if self.accelerator.num_processes > 1:
            pairs = gather_object(pairs)
        predictions = [prediction for _, prediction in sorted(pairs, key=lambda pair: pair[0])]
        return score(self.metrics, [item.example for item in items], predictions), predictions

    def _save(self, optimizer: torch.optim.Optimizer, epoch: int) -> None:
        if self.main:
            log = self.run.metrics_file
            self.progress.log_bytes = log.stat().st_size if log.exists() else 0
            save_checkpoint(self.run.checkpoint, self.model, optimizer, self.progress)
        self._call("mmkit_checkpoint", epoch=epoch, step=self.progress.step, best=False)
        self.accelerator.wait_for_everyone()

    def _interrupt(self, stop: StopSignal) -> None:
        name = stop.received.name if stop.received else "another process"
        self._call("mmkit_run_end", status="interrupted", summary={"seconds": self.progress.seconds})
        error = Interrupted(
            f"stopped by {name} after update {self.progress.step}; everything is saved",
            where=self.run.folder,
            hint=f"go on with: mmkit train {self.run.recipe_file} --resume --output {self.run.folder}",
        )
        error.exit_code = 128 + (stop.received or 2)
        raise error

    def _log(self, update: Update, watch: Watch, rate: float, since: tuple[float, int]) -> tuple[float, int]:
        now, steps = time.monotonic(), update.step - since[1]
        figures = watch.averages(self.accelerator)
        figures |= {
            "learning_rate": rate,
            "examples_per_second": steps * len(update.examples) / (now - since[0]),
        }
        self._call("mmkit_logged", epoch=update.epoch, step=update.step, figures=figures)
        return now, update.step

    # before and after

    def _open(self, resume: bool) -> None:
        if resume:
            saved = self.run.recipe()
            changed = [
                key
                for key in ("recipe", "data", "model", "metrics", "training")
                if saved.config[key] != self.recipe.config[key]
            ]
            if changed:
                raise RecipeError(
                    f"the recipe differs from the run's in [{'], ['.join(changed)}]",
                    where=self.run.folder,
                    hint=f"resume with the run's own recipe: mmkit train {self.run.recipe_file} --resume ...",
                )
            if self.run.json_file.exists() and self.run.facts().get("status") in ("completed", "stopped"):
                raise RunError(
                    "this run is complete", where=self.run.folder, hint="train into another --output"
                )
        elif self.main:
            self.run.create()
        self.accelerator.wait_for_everyone()

    def _tell_repairs(self) -> None:
        for split in self.splits.values():
            main = split.files[0]
            variant = f"{main['variant'] or 'unknown variant'}, sha256 {main['sha256'][:12]}"
            self._note(f"data.{split.name}: {len(split.records)} records from {main['file']} ({variant})")
            for reason, count in split.repairs.items():
                self._note(f"data.{split.name}: {count} × {reason}")

    def _truncate_log(self) -> None:
        """Drop log lines written after the checkpoint: their updates are made again."""
        if self.main and self.run.metrics_file.exists():
            os.truncate(self.run.metrics_file, self.progress.log_bytes)

    def _finish(self, status: str, started: float) -> dict[str, Any]:
        """Score the best epoch on the test split, write predictions and `run.json`."""
        self.accelerator.wait_for_everyone()
        state = load_tensors(self.run.weights_file)
        load_weights(self.model, state, self.run.weights_file, only=set(state))
        progress = self.progress
        figures = {"dev": progress.figures} if progress.figures else {}
        for split in self.items:
            if split == "train":
                continue
            figures[split], predictions = self._score(split)
            if self.main:
                self.run.save_predictions(split, predictions)
            if split != "dev":
                self._call(
                    "mmkit_evaluated",
                    split=split,
                    epoch=progress.best_epoch,
                    step=progress.best_step,
                    figures=figures[split],
                    best=False,
                )
        summary = {
            **self.facts,
            "status": status,
            "epochs": progress.epoch - 1,
            "updates": progress.step,
            "best_epoch": progress.best_epoch,
            "figures": figures,
            "seconds": round(max(progress.seconds, time.monotonic() - started), 1),
            "peak_memory_bytes": peak_memory(self.accelerator.device),
        }
        if self.main:
            self.run.save_json(summary)
            self.run.remove_checkpoint()
        self._call("mmkit_run_end", status=status, summary=summary)
        self.accelerator.wait_for_everyone()
        return summary

    # talking

    def _call(self, name: str, **arguments: Any) -> None:
        if self.main:
            getattr(self.plugins.hook, name)(run=self.run.folder, **arguments)

    def _note(self, message: str) -> None:
        if self.main:
            self.plugins.hook.mmkit_note(message=message)

    def _progress(self, label: str, done: int, total: int) -> None:
        if self.main:
            self.plugins.hook.mmkit_progress(label=label, done=done, total=total)


def weighted_score(figures: dict[str, float], wanted: str | dict[str, float]) -> float:
    """The one number by which epochs are compared. Raises `RecipeError` for a figure that no metric gives."""
    weights = {wanted: 1.0} if isinstance(wanted, str) else wanted
    unknown = [name for name in weights if name not in figures]
    if unknown:
        raise RecipeError(
            f"training.score names {', '.join(unknown)}, which no metric gives",
            hint="there are " + ", ".join(n for n in figures if n.count(".") == 1),
        )
    return sum(weight * figures[name] for name, weight in weights.items())


def peak_memory(device: torch.device) -> dict[str, int]:
    """Peak bytes: of this process's resident memory, and of the GPU's allocations."""
    peak = {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(device)
    return peak


def _every(interval: int, update: Update) -> bool:
    return bool(interval) and update.step % interval == 0

