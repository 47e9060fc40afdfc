"""A run's scores for its model card, with bootstrap intervals where the predictions and their data are still there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmkit import MMKitError, RunError
from mmkit.inference.results import Results, read_results
from mmkit.metrics.scoring import metrics_of, score
from mmkit.runs.folder import Run

RESAMPLES = 1000
BOUNDS = ("low", "high")


@dataclass(frozen=True)
class Score:
    """A score as `<metric>.<name>`, with the bounds of its 95 % interval if there are any."""

    name: str
    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class SplitScores:
    """The scores of a split, and why they have no intervals, if they have none."""

    split: str
    scores: tuple[Score, ...]
    without: str = ""


def scores_of(run: Path) -> Iterator[SplitScores]:
    """The scores of each split that was scored, the test split first. Nothing is predicted and nobody is contacted."""
    recorded = Run(run).figures()
    evaluated = {file.stem for file in (run / "evaluations").glob("*.json")}
    for split in sorted(recorded.keys() | evaluated, key=lambda name: (name != "test", name)):
        figures: Mapping[str, float] = recorded.get(split, {})
        try:
            results = read_results(run, split)
            figures = results.figures
            again = _with_bounds(results)
        except MMKitError as error:
            reason = "the predictions or their data are no longer here"
            if isinstance(error, RunError) and error.code == "run.no-predictions":
                reason = "the run keeps no predictions of this split"
            yield SplitScores(split, tuple(_scores(figures, {})), reason)
            continue
        differing = [n for n, value in again.items() if n in figures and abs(value - figures[n]) > 1e-6]
        if differing:
            reason = f"the predictions in the run do not give the recorded {differing[0]}"
            yield SplitScores(split, tuple(_scores(figures, {})), reason)
        else:
            found = tuple(_scores(figures, again))
            has = any(score.interval for score in found)
            yield SplitScores(split, found, "" if has else "its metrics give none")


def _with_bounds(results: Results) -> dict[str, float]:
    """The scores again, those with `<name>.low` and `<name>.high` that the metrics can bound."""
    metrics = {n: results.recipe.settings(f"metrics.{n}") for n in results.recipe.parts("metrics")}
    overrides = {f"metrics.{n}.bootstrap": RESAMPLES for n, known in metrics.items() if "bootstrap" in known}
    return score(metrics_of(results.recipe.with_overrides(overrides)), results.examples, results.predictions)


def _scores(figures: Mapping[str, float], again: Mapping[str, float]) -> Iterator[Score]:
    for name, value in figures.items():
        if name.count(".") != 1:  # a label's own, or a bound
            continue
        bounds = [again[f"{name}.{end}"] for end in BOUNDS if f"{name}.{end}" in again]
        yield Score(name, value, (bounds[0], bounds[1]) if len(bounds) == 2 else None)
