"""The updates of a run, and what follows each: a line of the log, an evaluation, a checkpoint, or a stop."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from accelerate.utils import broadcast_object_list
from torch.optim import Optimizer

from mmkit.errors import RunError
from mmkit.inference.inference import Evaluation
from mmkit.inference.loader import Loader
from mmkit.metrics.scoring import weighted_score
from mmkit.training.alarms import Alarms
from mmkit.training.checkpoint import AGAIN, Progress, load_checkpoint, save_checkpoint
from mmkit.training.graphs.captured import MULTIPLE, CapturedUpdates
from mmkit.training.graphs.recorder import CudaRecorder
from mmkit.training.loop import Loop, Update
from mmkit.training.metrics_log import rewind
from mmkit.training.optimizer import make_optimizer
from mmkit.training.ready import Ready
from mmkit.training.resume import said_of_epochs
from mmkit.training.session import Session
from mmkit.training.watch import Watch

AGREE_EVERY = 10
"""Several processes ask each other after this many updates whether to stop (each time they wait for all)."""


@dataclass(frozen=True)
class Updates:
    """Makes the updates that are left of a run. Everything that changes, except weights, is counted in `progress`."""

    session: Session
    ready: Ready
    optimizer: Optimizer
    progress: Progress
    loop: Loop
    earlier: float
    """Seconds that the run had taken before it was resumed."""
    alarms: Alarms

    @classmethod
    def of(cls, session: Session, ready: Ready) -> Updates:
        """The updates to make, from the last checkpoint on if there is one."""
        settings, model = session.settings, ready.model
        optimizer = make_optimizer(model, settings)
        progress = load_checkpoint(session.run.checkpoint, model, optimizer)
        if progress.step:
            session.note(f"the run goes on after update {progress.step:,}, in epoch {progress.epoch}")
        if session.run.weights_step() != progress.best_step:
            # killed between a new best and its checkpoint: the same best occurs again
            progress.best_score = None
        if session.main:
            rewind(session.run.folder, progress.log_bytes)
        if settings.compile:
            model.compile_encoders()
        loop = Loop(
            ready.sharded or session.accelerator.prepare_model(model),
            Loader(
                model,
                ready.items["train"],
                ready.inference.workers,
                multiple=MULTIPLE if ready.captured else 1,
            ),
            optimizer,
            settings,
            session.accelerator,
            session.recipe.seed,
            ready.inference.precision,
            progress,
        )
        if ready.captured:
            device, must = session.device, settings.graphs == "on"
            loop.captured = CapturedUpdates(CudaRecorder(device), optimizer, device, session.note, must)
        if progress.done >= max(1, loop.steps_per_epoch):
            raise RunError(
                f"the checkpoint is damaged: {progress.done} updates of an epoch of {loop.steps_per_epoch} are done",
                where=session.run.checkpoint,
                hint=AGAIN,
                code="run.damaged",
            )
        if progress.unscored and "dev" not in ready.items:
            raise RunError(
                "the checkpoint is damaged: it waits for scores of a split that the recipe does not have, dev",
                where=session.run.checkpoint,
                hint=AGAIN,
                code="run.damaged",
            )
        if progress.step and ready.epochs_before != settings.epochs:
            session.note(
                said_of_epochs(session.recipe, ready.epochs_before, progress.step, loop.steps_per_epoch)
            )
        alarms = Alarms.of(session, ready)
        return cls(session, ready, optimizer, progress, loop, progress.seconds, alarms)

    @property
    def planned(self) -> int:
        """Updates of the whole run, if it is not stopped early."""
        return self.loop.steps_per_epoch * self.session.settings.epochs

    @property
    def stale(self) -> bool:
        """Whether training must stop because of too many evaluations without a better score."""
        return 0 < self.session.settings.patience <= self.progress.stale

    @property
    def seconds(self) -> float:
        """How long the run has taken, including the time before it was resumed."""
        return self.earlier + self.session.seconds

    def make(self) -> None:
        """Make updates and what follows each, until the end of the last epoch or early stopping."""
        session, progress = self.session, self.progress
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        watch = Watch(session.accelerator, weights, progress.unlogged)
        try:
            self._make(watch)
        finally:
            self.loop.loader.close()
        if not progress.best_step:  # no score to choose by: the last epoch is kept
            self._keep_as_best(progress.epoch - 1)

    def _make(self, watch: Watch) -> None:
        session, progress = self.session, self.progress
        with session.stop.deferred():
            if progress.unscored:
                self._settle(progress.unscored, watch, save=True)
            while progress.epoch <= session.settings.epochs and not self.stale:
                session.tell("mmkit_epoch_start", epoch=progress.epoch, steps=self.loop.steps_left)
                for update in self.loop.epoch():
                    self._follow(update, watch)
                    if self.stale:
                        break

    def _follow(self, update: Update, watch: Watch) -> None:
        """What follows an update."""
        session, settings = self.session, self.session.settings
        watch.add(update)
        session.tell("mmkit_step", epoch=update.epoch, step=update.step, examples=len(update.examples))
        log = update.last_of_epoch or _every(settings.log_every, update)
        evaluate = self._evaluation_is_due(update)
        stop = self._stop_is_asked_for(update)
        save = evaluate or stop or update.last_of_epoch or _every(settings.checkpoint_every, update)
        if log or save or _every(settings.check_every, update):
            watch.check()
        if log:
            figures = {**watch.figures(), "learning_rate": self.loop.schedule.now[0]}
            session.tell("mmkit_logged", epoch=update.epoch, step=update.step, figures=figures)
            self.alarms.logged(update.epoch, figures["loss"])
        self.progress.unscored = update.epoch if evaluate else 0
        self._settle(update.epoch, watch, save=save, stop=stop)

    def _settle(self, epoch: int, watch: Watch, *, save: bool, stop: bool = False) -> None:
        """Make the evaluation that is due, unless the run is to `stop`: then the resumed run makes it. And save."""
        session, progress, reason = self.session, self.progress, ""
        if progress.unscored and not stop:
            evaluation = self._scored()
            stop = evaluation is None
            if evaluation is not None:
                progress.unscored = 0
                reason = self._evaluated(epoch, evaluation)
        if not (progress.done or progress.unscored):  # the last update was the last of its epoch
            self.alarms.epoch_ended(epoch)
        if save:
            self._save(epoch, watch)
        if stop:
            later = "; it is scored when the run goes on" if progress.unscored else ""
            raise session.interrupted(f"everything is saved after update {progress.step}{later}")
        if reason:
            raise session.stopped(reason)

    def _evaluation_is_due(self, update: Update) -> bool:
        settings = self.session.settings
        if "dev" not in self.ready.items or update.epoch < settings.eval_from:
            return False
        due = (update.epoch - settings.eval_from) % settings.eval_epochs == 0
        return (update.last_of_epoch and due) or _every(settings.eval_every, update)

    def _stop_is_asked_for(self, update: Update) -> bool:
        """Whether to stop after this update: several processes must agree."""
        accelerator, asked = self.session.accelerator, self.session.stop.received is not None
        if accelerator.num_processes == 1:
            return asked
        if not (update.last_of_epoch or _every(AGREE_EVERY, update)):
            return False
        if asked:
            accelerator.set_trigger()
        return bool(accelerator.check_trigger())

    def _scored(self) -> Evaluation | None:
        """The evaluation of the development split; None if it was stopped, which changes nothing."""
        session = self.session
        # a process that left it anywhere would let the others wait: several stop between two batches
        alone = session.accelerator.num_processes == 1
        try:
            with session.stop.at_once() if alone else contextlib.nullcontext():
                return self.ready.score("dev")
        except KeyboardInterrupt:
            if session.stop.insisted:
                raise
            return None

    def _evaluated(self, epoch: int, evaluation: Evaluation) -> str:
        """What follows an evaluation. Returns why hooks want to stop here; empty if none does."""
        settings, (figures, predictions) = self.session.settings, evaluation
        score = weighted_score(figures, settings.score)
        better = self.progress.is_better(score, settings.ties)
        place = {"split": "dev", "epoch": epoch, "step": self.progress.step}
        reasons = self.session.tell("mmkit_evaluated", **place, figures=figures, best=better)
        self.alarms.evaluated(epoch, score, predictions)
        if better:
            self._keep_as_best(epoch)
        # hooks are called in the main process only, and all processes must stop
        return str(broadcast_object_list(["; ".join(r for r in reasons if isinstance(r, str))])[0])

    def _keep_as_best(self, epoch: int) -> None:
        session, progress = self.session, self.progress
        progress.best_epoch, progress.best_step = epoch, progress.step
        keep_frozen, model = session.settings.save_frozen, self.ready.model
        if session.main or self.ready.sharded:
            session.run.save_weights(model, keep_frozen, progress.step, write=session.main)
        session.tell("mmkit_checkpoint", epoch=epoch, step=progress.step, best=True)

    def _save(self, epoch: int, watch: Watch) -> None:
        session, progress = self.session, self.progress
        progress.seconds, progress.unlogged = self.seconds, watch.state()
        if session.main:
            log = session.run.metrics_file
            progress.log_bytes = log.stat().st_size if log.exists() else 0
        if session.main or self.ready.sharded:
            folder, model = session.run.checkpoint, self.ready.model
            save_checkpoint(folder, model, self.optimizer, progress, write=session.main)
        session.tell("mmkit_checkpoint", epoch=epoch, step=progress.step, best=False)
        session.accelerator.wait_for_everyone()


def _every(interval: int, update: Update) -> bool:
    return bool(interval) and update.step % interval == 0
