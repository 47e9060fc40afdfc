"""A run's alarms: what `learning` notices, said to the user with advice, and kept for `run.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonlines

from mmkit.data.types import Prediction
from mmkit.metrics.scoring import weighted_score, weights_of
from mmkit.training.advice import Case, advice, counted, none_label
from mmkit.training.learning import Alarm, Learning
from mmkit.training.ready import Ready
from mmkit.training.session import Session


@dataclass
class Alarms:
    """Follows a run's losses and scores in the main process. Each kind of alarm is shown once, also after a resume."""

    session: Session
    case: Case
    learning: Learning
    found: list[dict[str, Any]] = field(default_factory=list)
    """As `run.json` has them."""

    @classmethod
    def of(cls, session: Session, ready: Ready) -> Alarms:
        """For a run that starts or is resumed: alarms about what is already in its log are not shown again."""
        settings = session.settings
        tiny = session.recipe.config["recipe"]["tiny"]
        case = Case(ready.model, settings, ready.items, ready.facts.get("features", {}), tiny)
        score = " + ".join(weights_of(settings.score))
        alarms = cls(session, case, Learning(settings.epochs, score or "the score"))
        if session.main:
            alarms._look_back()
        return alarms

    def _look_back(self) -> None:
        log = self.session.run.metrics_file
        if not log.exists():
            return
        learning, epoch, wanted = self.learning, 0, self.session.settings.score
        with jsonlines.open(log) as lines:
            for line in lines:
                if line["epoch"] > epoch:
                    self._keep(learning.epoch_ended(epoch) if epoch else None)
                    epoch = line["epoch"]
                if line["split"] == "train":
                    self._keep(learning.logged(epoch, line["loss"]))
                elif line["split"] == "dev" and set(weights_of(wanted)) <= line.keys():
                    self._keep(learning.evaluated(epoch, weighted_score(line, wanted)))

    def logged(self, epoch: int, loss: float) -> None:
        """A loss was logged."""
        self._say(self.learning.logged(epoch, loss))

    def evaluated(self, epoch: int, score: float, predictions: Sequence[Prediction]) -> None:
        """The development set was scored."""
        self._say(self.learning.evaluated(epoch, score, *self._predicted(predictions)))

    def epoch_ended(self, epoch: int) -> None:
        """An epoch is over."""
        self._say(self.learning.epoch_ended(epoch))

    def ended(self, predictions: Sequence[Prediction]) -> None:
        """The run is over; `predictions` are those for the development set."""
        self._say(self.learning.ended(*self._predicted(predictions)))

    def _predicted(self, predictions: Sequence[Prediction]) -> tuple[int, str]:
        finds, none = self.case.model.decoder.task.finds, none_label(self.case.model)
        return sum(counted(finds, p, none) for p in predictions), " or ".join(sorted(finds))

    def _keep(self, alarm: Alarm | None) -> list[str]:
        if alarm is None:
            return []
        what_helps = advice(alarm.kind, self.case)
        self.found.append(alarm.to_json(what_helps))
        return what_helps

    def _say(self, alarm: Alarm | None) -> None:
        if alarm is None or not self.session.main:
            return
        lines = "".join(f"\n  → {line}" for line in self._keep(alarm))
        self.session.note(f"warning: {alarm.what}{lines}")
