"""Station 6, the metric: scores from examples and predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from mmkit.data.problems import Problem
from mmkit.data.types import Example, GoldRank, Prediction, Region

MEAN_RANK = "mean_rank"
"""The end of the names of scores that are mean ranks: numbers from 1 on, and lower is better."""


def is_share(name: str) -> bool:
    """Whether a score is in [0, 1] and higher is better: all but mean ranks."""
    return not any(part.endswith(MEAN_RANK) for part in name.split("."))


def shown(name: str, value: float) -> str:
    """A score for a person: in percent, and a mean rank as it is."""
    return f"{100 * value if is_share(name) else value:.2f}"


class Metric(ABC):
    """Accumulates over batches. For every score that it reports, higher is better. The constructor calls `reset`.

    Mean ranks are the exception: see `MEAN_RANK`.
    """

    strings: bool = False
    """Whether it reads the note `mmkit.data.strings.STRINGS`: items that are given by words, without positions."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything that was accumulated."""

    @abstractmethod
    def update(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Add pairs; `predictions[i].id` must be `examples[i].id`."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Scores by name, in [0, 1]: `f1`, `precision`, ..., and `f1.PER` for a single label.

        A mean rank is not in [0, 1]. It is left out where it is not known, and where nothing was scored. So no training
        can choose its best epoch by it. A figure over nothing, as F1 where no item is given and none is predicted, is
        not a number: it is not shown.
        """

    def examine(self, examples: Sequence[Example]) -> Iterable[Problem]:
        """What keeps gold examples from being scored, found before a model is trained."""
        return ()


@runtime_checkable
class ReadsRanks(Protocol):
    """A metric of the ranks of gold entities (see `mmkit.decoders.abilities.RanksGold`)."""

    def update_ranks(self, examples: Sequence[Example], ranks: Sequence[GoldRank]) -> None:
        """Add examples and their ranks, in order. Called instead of `update` if the decoder gives ranks."""
        ...


@runtime_checkable
class CountsExamples(Protocol):
    """A metric with scores that follow from counts of each example, so that examples can be drawn or exchanged.

    That is what intervals and tests of significance do (`mmkit compare`, of the package mmkit-report).
    """

    def example_counts(self) -> dict[str, NDArray[Any]]:
        """Name of a score of `compute` → `[N, 3]`: what each example adds to correct, predicted and gold.

        The examples are in the order of `update`; a metric may leave out those that do not count, whatever is
        predicted for them. The score is 2 · correct / (predicted + gold) of the sums. A mean of values v is of this
        form, with (v, 1, 1) for each example.
        """
        ...


@runtime_checkable
class ComparesRegions(Protocol):
    """A metric for which a span is right only if its regions are right too.

    What tells errors apart (`mmkit errors`, of the package mmkit-report) asks it, so that both call the same right.
    """

    def same_regions(self, gold: Sequence[Region], found: Sequence[Region]) -> bool:
        """Whether the predicted regions of a span count as right; where there are none, nothing shows the span."""
        ...
