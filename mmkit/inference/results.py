"""The results that are in a run folder: predictions beside the gold data that they were made for."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkit.access.network import without_network
from mmkit.data.jsonlines import read_jsonl
from mmkit.data.predictions import Told, matched
from mmkit.data.types import Entity, Example, Prediction
from mmkit.errors import RunError
from mmkit.files import read_json
from mmkit.loading.annotation import Annotation
from mmkit.loading.split import ENTITIES, Split
from mmkit.loading.splits import check_split, read_splits_of_run
from mmkit.recipe import Recipe
from mmkit.runs.folder import Run
from mmkit.runs.opening import address_of, open_run

Known = MutableMapping[str, Mapping[str, Split]]
"""Data that are already read, by what decides them: several runs often share them."""


@dataclass(frozen=True)
class Results:
    """What training or `mmkit evaluate` wrote of one split. `predictions[i]` is for `examples[i]`."""

    folder: Path
    recipe: Recipe
    split: str
    examples: Sequence[Example]
    """The examples that were scored: their units, if the decoder splits them."""
    predictions: Sequence[Prediction]
    entities: Sequence[Entity] = ()
    """The knowledge base, if the recipe has one."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """`run.json`; empty if there is none."""
    files: Sequence[Mapping[str, Any]] = ()
    """The data files that the predictions were made from: `file`, `sha256`, `variant`."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """The scores that were written with the predictions, as `<metric>.<name>`."""


def read_results(
    run: str | Path,
    split: str = "test",
    overrides: Mapping[str, Any] | None = None,
    *,
    known: Known | None = None,
) -> Results:
    """Read a run's predictions of a split, and the data they are for. Nothing is predicted or written.

    `run` is a folder, or an address as for `mmkit.load`. `overrides` are settings of the run's recipe by dotted name:
    where its data are, if they have moved. Data that are in `known` are not read again; what is read is put there. No
    server of the recipe is contacted. Raises `RunError` if there are no predictions of the split, or if its data have
    changed since, and `DataError` if the two do not belong together.
    """
    folder = Run(open_run(run))
    recipe = folder.recipe().with_overrides(overrides or {})
    check_split(recipe, split)
    told = _predictions(folder, split, address_of(run))
    splits = _read(recipe, split, {} if known is None else known)
    data = splits[split]
    decoder = recipe.build("model.decoder")
    examples = [unit for example in data.examples for unit in decoder.units(example)]
    facts = folder.facts_if_any()
    files, figures = _recorded(folder, split, facts)
    _check_unchanged(folder, split, files, data.files)
    return Results(
        folder=folder.folder,
        recipe=recipe,
        split=split,
        examples=examples,
        predictions=matched(examples, told, folder.predictions_file(split)),
        entities=splits[ENTITIES].entities if ENTITIES in splits else (),
        facts=facts,
        files=files or data.files,
        figures=figures,
    )


def _read(recipe: Recipe, split: str, known: Known) -> Mapping[str, Split]:
    """The split, and the knowledge base if there is one, annotated as for an evaluation."""
    data = recipe.config["data"]
    decides = [split, data.get(split), data.get(ENTITIES), recipe.config["annotators"]]
    key = json.dumps(decides, sort_keys=True, default=str)
    if key not in known:
        names = [split, ENTITIES] if ENTITIES in recipe.parts("data") else [split]
        with without_network(recipe.path.parent, allow=False):
            known[key] = read_splits_of_run(recipe, names, Annotation.of(recipe, writing=False))
    return known[key]


def _predictions(run: Run, split: str, address: str) -> list[Told]:
    path = run.predictions_file(split)
    if not path.is_file() and address:
        raise RunError(
            f"the run at this address comes without predictions of {split!r}",
            where=address,
            hint="name the folder of the run that was trained or evaluated; a package of a run holds no predictions",
            code="run.no-predictions",
        )
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.jsonl"))
        raise RunError(
            f"the run has no predictions of {split!r}",
            where=path,
            hint=f"mmkit evaluate {run.folder} --split {split}"
            + (f"; there are predictions of {', '.join(known)}" if known else ""),
            code="run.no-predictions",
        )
    return [Told(record, None) for record in read_jsonl(path) if isinstance(record, Prediction)]


def _recorded(
    run: Run, split: str, facts: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The data files and the scores: of the last evaluation if there was one, else of the training."""
    evaluation = run.folder / "evaluations" / f"{split}.json"
    try:
        if evaluation.is_file():
            content = read_json(evaluation)
            origin, scores = content.get("data") or {}, content
        else:
            origin = (facts.get("data") or {}).get(split) or {}
            scores = (facts.get("figures") or {}).get(split) or {}
        files = [{"file": str(file["file"]), **file} for file in origin.get("files") or ()]
        return files, {name: float(v) for name, v in scores.items() if type(v) in (int, float)}
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise RunError(
            f"what it says of {split!r} cannot be read: {error}",
            where=evaluation if evaluation.exists() else run.json_file,
            hint=f"mmkit evaluate {run.folder} --split {split}",
            code="run.results",
        ) from error


def _check_unchanged(
    run: Run, split: str, then: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse data that are not those of the predictions."""
    before = {Path(file["file"]).name: file.get("sha256") for file in then}
    changed = [
        str(file["file"]) for file in now if before.get(Path(file["file"]).name) not in (None, file["sha256"])
    ]
    if changed:
        raise RunError(
            f"data.{split} has changed since the predictions were made: {', '.join(changed)}",
            where=run.folder,
            hint=f"mmkit evaluate {run.folder} --split {split} --output FOLDER scores the changed data",
            code="run.data-changed",
        )
