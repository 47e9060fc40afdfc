"""Whether a run learns anything: a score that stays 0, a loss that stays where it began, a loss that explodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

Kind = Literal["score-zero", "loss-flat", "loss-explodes"]

EPOCHS = 3
"""For at least so many evaluated epochs at the beginning, a score may be 0."""
SHARE, MOST = 0.3, 10
"""In a long run, a score may be 0 for this fraction of its epochs, but for no more than so many."""

FLAT_EPOCHS = 4
"""Epochs after which the loss should have moved."""
FLAT = 0.98
"""A loss that is still above this share of the first epoch's has not moved."""
POOR = 0.3
"""A model whose best score is at least this has learned something; its loss need not go down."""

GROWN, ABOVE = 3.0, 10.0
"""A loss explodes if it is so many times the first one and so many times the lowest one."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that is wrong with a training, noticed after an epoch."""

    kind: Kind
    epoch: int
    what: str

    def to_json(self, advice: Sequence[str]) -> dict[str, Any]:
        """For `run.json`."""
        return {"kind": self.kind, "epoch": self.epoch, "what": self.what, "advice": list(advice)}


@dataclass
class Learning:
    """Looks at the losses and scores of a run as they come, and raises each kind of alarm once.

    The thresholds are wide: a run that learns slowly, or starts from weights that know the task, raises no alarm.
    """

    epochs: int
    """Of the whole run."""
    score: str = "the score"
    """The score that epochs are compared by."""
    said: set[Kind] = field(default_factory=set)
    losses: dict[int, list[float]] = field(default_factory=dict)
    """By epoch, as they were logged."""
    scores: dict[int, float] = field(default_factory=dict)
    """By epoch, the best."""
    first: float | None = None
    lowest: float = math.inf

    @property
    def patience(self) -> int:
        """Evaluated epochs that a score may be 0."""
        return max(EPOCHS, min(MOST, math.ceil(SHARE * self.epochs)))

    def logged(self, epoch: int, loss: float) -> Alarm | None:
        """A loss was logged: a mean over some updates of an epoch."""
        self.losses.setdefault(epoch, []).append(loss)
        first = self.first = loss if self.first is None else self.first
        exploded = self.lowest > 0 and 0 < GROWN * first < loss and loss > ABOVE * self.lowest
        self.lowest = min(self.lowest, loss)
        if not exploded:
            return None
        before = f"began at {first:.4g} and was as low as {self.lowest:.4g}"
        what = f"the loss explodes: it is {loss:.4g} in epoch {epoch}, {before}"
        return self._alarm("loss-explodes", epoch, what)

    def evaluated(
        self, epoch: int, score: float, predicted: int | None = None, kind: str = ""
    ) -> Alarm | None:
        """The development set was scored. The model found so many things of a `kind` there, if that is known."""
        self.scores[epoch] = max(score, self.scores.get(epoch, score))
        if any(self.scores.values()) or len(self.scores) < self.patience:
            return None
        return self._zero(epoch, predicted, kind)

    def epoch_ended(self, epoch: int) -> Alarm | None:
        """The last update of an epoch was made, logged and evaluated."""
        means = [fmean(losses) for _, losses in sorted(self.losses.items())]
        if len(means) < FLAT_EPOCHS or "score-zero" in self.said or not means[0] > 0:
            return None
        knows = bool(self.scores) and max(self.scores.values()) >= POOR
        if knows or min(means[1:]) <= FLAT * means[0] or max(means) > GROWN * means[0]:
            return None
        moved = f"it was {means[0]:.4g} in the first epoch and is {means[-1]:.4g} in epoch {epoch}"
        what = f"the loss does not go down: {moved}"
        return self._alarm("loss-flat", epoch, what)

    def ended(self, predicted: int | None = None, kind: str = "") -> Alarm | None:
        """The run is over; a short one may never have had a score above 0."""
        if len(self.scores) < EPOCHS or any(self.scores.values()):
            return None
        return self._zero(max(self.scores), predicted, kind)

    def _zero(self, epoch: int, predicted: int | None, kind: str) -> Alarm | None:
        count = len(self.scores)
        what = f"nothing is learned: {self.score} on the development set is 0 after each of {count} epochs"
        if predicted == 0:
            what += f", and the model predicts no {kind} at all"
        elif predicted is not None:
            what += f", and none of the {predicted:,} {kind} that the model predicts is right"
        return self._alarm("score-zero", epoch, what)

    def _alarm(self, kind: Kind, epoch: int, what: str) -> Alarm | None:
        if kind in self.said:
            return None
        self.said.add(kind)
        return Alarm(kind, epoch, what)
