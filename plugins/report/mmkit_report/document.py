"""Everything that a report shows, as one JSON document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit import Entity, Example, MMKitError, Reader
from mmkit.data.inside import copied_from_outside
from mmkit.inference.results import Known
from mmkit.tasks.notebook import INK, colour
from mmkit_report.about_run import about
from mmkit_report.again import View, views_of
from mmkit_report.analysis import analysis
from mmkit_report.error_file import worst_first
from mmkit_report.example_records import BEST, entity_record, example_record, prediction_record
from mmkit_report.findings import Kind, kinds_for
from mmkit_report.inspection import means, shown_record
from mmkit_report.names import common_folder
from mmkit_report.same_data import check_same_data
from mmkit_report.scored import Scored, read_all
from mmkit_report.thumbnails import Thumbnails

FORMAT = 1
RESAMPLES = 1_000

Note = Callable[[str], None]


def document(
    folders: Sequence[str | Path],
    split: str,
    images: Thumbnails,
    overrides: Mapping[str, Any] | None = None,
    *,
    blank: bool = False,
    inspect: bool = False,
    device: str = "auto",
    note: Note = lambda message: None,
) -> dict[str, Any]:
    """The document of one or several runs, which must have been scored on the same data (`RunError`).

    Images are put into `images`, those of the worst errors of the first run first. With `blank`, each run also predicts
    with blank images; with `inspect`, its parts show what they compute of each example. `note` is told what is left
    out, and why.
    """
    known: Known = {}
    runs = [run for folder in folders for run in read_all(folder, split, overrides, known)]
    check_same_data(runs)
    train = _training(runs[0], note)
    abouts = [about(run, note) for run in runs]
    found = [views_of(run, blank=blank, inspect=inspect, device=device, note=note) for run in runs]
    views = [own[i] for i in range(2 if blank else 1) for own in found]  # those with blank images come last
    worst = worst_first(runs[0].findings)
    order = list(dict.fromkeys([*worst, *range(len(runs[0].examples))]))
    folder = common_folder([run.name for run in runs])
    kinds = kinds_for("span", any(run.boxes for run in runs))
    records = {i: example_record(runs[0].examples[i], images) for i in order}
    for i, record in records.items():
        record["p"] = [_prediction(view, i, kinds) for view in views]
        if blank:
            record["change"] = round(max(view.changes[i] for view in views if view.changes is not None), 4)
    entities = _entities([view.scored for view in views], images)
    if said := copied_from_outside(
        (record["name"] for record in images.records if "src" in record), _folders(runs), "the report"
    ):
        note(said)
    return {
        "format": FORMAT,
        "split": split,
        "kinds": list(kinds),
        "ink": INK,
        "colours": {label: colour(label) for label in _labels(views)},
        "runs": [
            {
                "name": view.name.removeprefix(folder),
                **about_run,
                **analysis(view.scored, train, RESAMPLES),
                "shown": means(view.scored.examples, view.shown or ()) if view.shown else [],
            }
            for view, about_run in zip(views, [*abouts, *abouts], strict=False)
        ],
        "examples": [records[i] for i in range(len(records))],
        "entities": entities,
        "images": images.records,
    }


def _folders(runs: Sequence[Scored]) -> set[str]:
    """The folders in which the images of the data are, as the recipes say it."""
    parts = [(run.recipe, f"data.{name}") for run in runs for name in (run.split, "entities")]
    readers: list[Reader] = [
        recipe.build(part) for recipe, part in parts if part.partition(".")[2] in recipe.parts("data")
    ]
    return {folder for reader in readers for folder in reader.picture_folders()}


def _labels(views: Sequence[View]) -> list[str]:
    """The labels of all spans, gold and predicted, and of mentions."""
    spans = [span for example in views[0].scored.examples for span in example.spans]
    spans += [span for view in views for p in view.scored.predictions for span in p.spans]
    spans += [x.mention.span for x in views[0].scored.examples if x.mention and x.mention.span]
    return sorted({span.label for span in spans if span.label})


def _prediction(view: View, i: int, kinds: Sequence[Kind]) -> dict[str, Any]:
    """What a view says of an example, and what the parts show of it."""
    record = prediction_record(view.scored.predictions[i], view.scored.findings[i], kinds)
    return {**record, "shown": shown_record(view.shown[i])} if view.shown and view.shown[i] else record


def _training(run: Scored, note: Note) -> list[Example] | None:
    """The training examples, which say what mentions were seen; None if they cannot be read."""
    try:
        return [x for x in run.recipe.build("data.train") if isinstance(x, Example)]
    except MMKitError as error:
        note(
            f"scores of seen and unseen mentions are left out, because the training data cannot be read: {error}"
        )
        return None


def _entities(runs: Sequence[Scored], images: Thumbnails) -> dict[str, Any]:
    """The entities that are gold, or among the best links."""
    wanted = {x.entity for x in runs[0].examples if x.entity is not None}
    wanted |= {link for run in runs for p in run.predictions for link in p.links[:BEST]}
    base = runs[0].results.entities
    if not wanted or not len(base):
        return {}
    found = _looked_up(base, sorted(wanted))
    return {id: entity_record(entity, images) for id, entity in found.items()}


def _looked_up(base: Sequence[Entity], ids: Sequence[str]) -> dict[str, Entity]:
    rows = getattr(base, "rows", None)  # a knowledge base on disk finds ids without being read through
    if rows is not None:
        return {id: base[int(row)] for id, row in zip(ids, rows(ids), strict=True) if row >= 0}
    wanted = set(ids)
    return {entity.id: entity for entity in base if entity.id in wanted}
