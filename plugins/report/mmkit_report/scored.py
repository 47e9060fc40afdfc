"""A run's predictions beside the gold data that they were made for, read from the run's files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mmkit.access.network import without_network
from mmkit.data.jsonlines import read_jsonl
from mmkit.data.predictions import Told, matched
from mmkit.data.types import Entity, Example, Prediction
from mmkit.errors import RunError, did_you_mean
from mmkit.files import read_json
from mmkit.loading.annotation import Annotation
from mmkit.loading.split import ENTITIES, Split
from mmkit.loading.splits import check_split, read_splits
from mmkit.metrics.base import Metric
from mmkit.recipe import Recipe
from mmkit.runs.folder import Run
from mmkit_report.findings import Finding, findings

Note = Callable[[str], None]


@dataclass(frozen=True)
class Scored:
    """The predictions of one run for one split. `predictions[i]` is for `examples[i]`."""

    run: Run
    recipe: Recipe
    split: str
    examples: Sequence[Example]
    predictions: Sequence[Prediction]
    entities: Sequence[Entity] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """`run.json`; empty if there is none."""
    files: Sequence[Mapping[str, Any]] = ()
    """The data files that the predictions were made from: `file`, `sha256`, `variant`."""
    recorded: Mapping[str, float] = field(default_factory=dict)
    """The scores that were written when the predictions were."""

    @property
    def name(self) -> str:
        """What the run is called in tables."""
        return str(self.run.folder)

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
        return {**{k: v for k, v in computed.items() if not math.isnan(v)}, **self.recorded}

    @cached_property
    def findings(self) -> list[list[Finding]]:
        """Of each example, what was right and what was wrong."""
        labels = none_labels(self.recipe)
        return [findings(x, p, labels) for x, p in zip(self.examples, self.predictions, strict=True)]


def metrics_of(recipe: Recipe) -> dict[str, Metric]:
    """A recipe's metrics, by name."""
    return {name: recipe.build(f"metrics.{name}") for name in recipe.parts("metrics")}


def none_labels(recipe: Recipe) -> frozenset[str]:
    """The labels by which the recipe's decoder and metrics say that there is no relation."""
    parts = [recipe.build("model.decoder"), *metrics_of(recipe).values()]
    return frozenset(
        label for part in parts if isinstance(label := getattr(part, "none_label", None), str) and label
    )


def read_scored(
    folder: Path,
    split: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    note: Note = lambda message: None,
    read: Callable[[Recipe, str], Mapping[str, Split]] | None = None,
) -> Scored:
    """Read a run's predictions of a split and the data they are for.

    `overrides` are settings of the recipe: where the data are, if they have moved. `read` replaces the reading of
    data. Nothing is written, and nobody is contacted. Raises `RunError` if the run has no predictions of the split, or
    if its data have changed since, and `DataError` if the two do not belong together.
    """
    run = Run(folder)
    recipe = run.recipe().with_overrides(overrides or {})
    check_split(recipe, split)
    told = _predictions(run, split)
    splits = (read or read_data)(recipe, split)
    data = splits[split]
    decoder = recipe.build("model.decoder")
    examples = [unit for example in data.examples for unit in decoder.units(example)]
    predictions = matched(examples, told, run.predictions_file(split))
    facts = run.facts() if run.json_file.exists() else {}
    files, recorded = _recorded(run, split, facts)
    _same_files(run, split, files, data.files)
    return Scored(
        run=run,
        recipe=recipe,
        split=split,
        examples=examples,
        predictions=predictions,
        entities=splits[ENTITIES].entities if ENTITIES in splits else (),
        facts=facts,
        files=files or data.files,
        recorded=recorded,
    )


def read_data(recipe: Recipe, split: str) -> Mapping[str, Split]:
    """The split, and the knowledge base if there is one, annotated as for an evaluation."""
    names = [split, ENTITIES] if ENTITIES in recipe.parts("data") else [split]
    with without_network(recipe.path.parent, allow=False):
        return read_splits(recipe, names, annotation=Annotation.of(recipe, writing=False))


def _predictions(run: Run, split: str) -> list[Told]:
    path = run.predictions_file(split)
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.jsonl"))
        raise RunError(
            f"the run has no predictions of {split!r}",
            where=path,
            hint=f"mmkit evaluate {run.folder} --split {split}"
            + (f"; there are predictions of {', '.join(known)}" if known else ""),
            code="report.no-predictions",
        )
    return [Told(record, None) for record in read_jsonl(path) if isinstance(record, Prediction)]


def _recorded(
    run: Run, split: str, facts: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The data files and the scores, of the last evaluation if there was one, else of the training."""
    evaluation = run.folder / "evaluations" / f"{split}.json"
    try:
        if evaluation.is_file():
            content = read_json(evaluation)
            origin, scores = content.get("data") or {}, content
        else:
            origin = (facts.get("data") or {}).get(split) or {}
            scores = (facts.get("figures") or {}).get(split) or {}
        files = [dict(file) for file in origin.get("files") or ()]
        return files, {name: float(v) for name, v in scores.items() if type(v) in (int, float)}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise RunError(
            f"what it says of {split!r} cannot be read: {error}",
            where=evaluation if evaluation.exists() else run.json_file,
            hint=f"mmkit evaluate {run.folder} --split {split}",
            code="report.damaged",
        ) from error


def _same_files(
    run: Run, split: str, then: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse data that are not those of the predictions."""
    before = {Path(str(file.get("file"))).name: file.get("sha256") for file in then}
    changed = [
        file["file"] for file in now if before.get(Path(file["file"]).name) not in (None, file["sha256"])
    ]
    if changed:
        raise RunError(
            f"data.{split} has changed since the predictions were made: {', '.join(map(str, changed))}",
            where=run.folder,
            hint=f"mmkit evaluate {run.folder} --split {split} --output FOLDER scores the changed data",
            code="report.data-changed",
        )


def runs_in(folder: Path) -> list[Path]:
    """The run that a folder is, or the runs in it (of several seeds, for example), in the order of their names.

    Raises `RunError` if there is none.
    """
    if (folder / "recipe.cfg").is_file():
        return [folder]
    found = sorted(file.parent for file in folder.glob("*/recipe.cfg")) if folder.is_dir() else []
    if found:
        return found
    near = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
    hint = "name a folder that `mmkit train` wrote, or one that holds several such folders"
    if not folder.exists() and near:
        hint = did_you_mean(folder.name, near)
    raise RunError(
        "this is neither a run nor a folder of runs" if folder.exists() else "there is no such folder",
        where=folder,
        hint=hint,
        code="report.not-a-run",
    )


def as_line(value: Any) -> str:
    """A setting on one line, shortened if it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
