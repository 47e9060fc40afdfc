"""A run's results with everything that follows from them: scores, and what was right and wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mmkit import Example, Metric, Prediction, Recipe
from mmkit.inference.results import Known, Results, read_results
from mmkit.metrics.base import ComparesRegions, CountsExamples
from mmkit.metrics.scoring import metrics_of, scored
from mmkit.runs.folder import not_a_run
from mmkit.runs.opening import address_of
from mmkit_report.findings import Finding, SameRegions, findings


@dataclass(frozen=True)
class Scored:
    """The results of one run for one split."""

    results: Results
    called: str = ""
    """What the run is called, if not by its folder."""

    @property
    def name(self) -> str:
        """What the run is called in tables."""
        return self.called or str(self.results.folder)

    @property
    def recipe(self) -> Recipe:
        return self.results.recipe

    @property
    def split(self) -> str:
        return self.results.split

    @property
    def examples(self) -> Sequence[Example]:
        return self.results.examples

    @property
    def predictions(self) -> Sequence[Prediction]:
        return self.results.predictions

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The recipe's metrics, each having seen all examples."""
        built = metrics_of(self.recipe)
        for metric in built.values():
            metric.reset()
            metric.update(self.examples, self.predictions)
        return built

    @cached_property
    def figures(self) -> dict[str, float]:
        """The scores, as recorded; those that were not recorded are computed from the predictions."""
        computed = {f"{name}.{k}": v for name, m in self.metrics.items() for k, v in m.compute().items()}
        return {**scored(computed), **self.results.figures}

    @cached_property
    def example_counts(self) -> dict[str, NDArray[Any]]:
        """Score → what each example adds to it, `[N, 3]`, of the metrics that can tell (`CountsExamples`)."""
        return {
            f"{name}.{figure}": counts
            for name, metric in self.metrics.items()
            if isinstance(metric, CountsExamples)
            for figure, counts in metric.example_counts().items()
        }

    @cached_property
    def findings(self) -> list[list[Finding]]:
        """Of each example, what was right and what was wrong."""
        return found_in(self.recipe, self.examples, self.predictions)

    @cached_property
    def boxes(self) -> bool:
        """Whether the boxes of spans are compared too."""
        return regions_judge(self.recipe) is not None


def read_scored(
    run: str | Path, split: str, overrides: Mapping[str, Any] | None = None, known: Known | None = None
) -> Scored:
    """A run's results. The arguments are as in `mmkit.inference.results.read_results`, as are its errors."""
    return Scored(read_results(run, split, overrides, known=known), address_of(run))


def read_all(
    place: str | Path, split: str, overrides: Mapping[str, Any] | None = None, known: Known | None = None
) -> list[Scored]:
    """The results of the run that a folder is or that an address names, or of the runs in a folder, by their names.

    Raises `RunError` if there is none, and what `read_scored` raises.
    """
    if address_of(place):
        return [read_scored(place, split, overrides, known)]
    return [read_scored(run, split, overrides, known) for run in runs_in(Path(place))]


def found_in(
    recipe: Recipe, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> list[list[Finding]]:
    """The findings of each example, by what the recipe's decoder and metrics say about labels and boxes."""
    labels, same_regions = none_labels(recipe), regions_judge(recipe)
    return [findings(x, p, labels, same_regions) for x, p in zip(examples, predictions, strict=True)]


def regions_judge(recipe: Recipe) -> SameRegions | None:
    """What the recipe's first metric that compares regions says of them; None if no metric does."""
    metrics = metrics_of(recipe).values()
    return next((metric.same_regions for metric in metrics if isinstance(metric, ComparesRegions)), None)


def none_labels(recipe: Recipe) -> frozenset[str]:
    """The labels by which the recipe's decoder and metrics say that there is no relation."""
    parts = [recipe.build("model.decoder"), *metrics_of(recipe).values()]
    return frozenset(
        label for part in parts if isinstance(label := getattr(part, "none_label", None), str) and label
    )


def is_runs(place: str | Path) -> bool:
    """Whether a place is a run or holds runs. An address always names a run."""
    return bool(address_of(place) or _runs(Path(place)))


def _runs(folder: Path) -> list[Path]:
    if (folder / "recipe.cfg").is_file():
        return [folder]
    return sorted(file.parent for file in folder.glob("*/recipe.cfg")) if folder.is_dir() else []


def runs_in(folder: Path) -> list[Path]:
    """The run that a folder is, or the runs in it (of several seeds, for example), in the order of their names.

    Raises `RunError` if there is none.
    """
    if found := _runs(folder):
        return found
    raise not_a_run(
        folder,
        "a run, and no folder of runs",
        "name a folder that `mmkit train` wrote, or one that holds several such",
    )
