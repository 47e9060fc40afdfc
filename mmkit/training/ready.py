"""Everything before the first update: parts, data, model, features, and the first files of the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmkit.checking.check import lacking
from mmkit.checking.examine import examine, refuse, runs_of, warnings_of
from mmkit.checking.unread import entity_notes, unread_notes
from mmkit.checking.words import spaces_alone, unknown_words
from mmkit.errors import PartError
from mmkit.inference.devices import pick_precision
from mmkit.inference.inference import Evaluation, Inference
from mmkit.inference.loader import pick_threads, pick_workers
from mmkit.inference.prepare import prepare_model
from mmkit.loading.annotation import Annotation
from mmkit.loading.split import ENTITIES, Split, notes_of
from mmkit.loading.splits import read_splits, split_names
from mmkit.loading.stand_ins import TOLD
from mmkit.metrics.base import Metric
from mmkit.metrics.scoring import checked_metrics
from mmkit.model import Item, Model, assemble, fitting_parts
from mmkit.runs.folder import environment
from mmkit.runs.lineage import KEY as MADE_OF
from mmkit.runs.lineage import made_of
from mmkit.runs.start import KEY, Start
from mmkit.terminal.elastic import local_processes
from mmkit.trackers import trackers_of
from mmkit.training.entity_cost import encoded_again, encoding_cost
from mmkit.training.graphs.choice import wants_graphs
from mmkit.training.resume import check_data, check_start, open_folder
from mmkit.training.session import Session
from mmkit.training.sharding import ShardedModel, sharded


@dataclass(frozen=True)
class Ready:
    """A model that is ready for training, with its data and metrics."""

    model: Model
    items: Mapping[str, list[Item]]
    """By split."""
    metrics: Mapping[str, Metric]
    inference: Inference
    facts: Mapping[str, Any]
    """The content of `run.json`, without the results."""
    epochs_before: int
    """Epochs that the run was to have before it was resumed."""
    sharded: ShardedModel | None = None
    """The model, if its encoders are spread over processes."""
    captured: bool = False
    """Whether updates are captured in CUDA graphs."""

    def score(self, split: str) -> Evaluation:
        """Scores and predictions of a split; processes share the work, and all of them get the result.

        Raises `KeyboardInterrupt` in all processes if one was asked to stop.
        """
        return self.inference.evaluate(self.items[split], self.metrics)


def make_ready(session: Session, resume: bool) -> Ready:
    """Data → model → features. Errors in the recipe are reported before annotators run.

    Raises `MMKitError` subclasses for everything that the user must change.
    """
    recipe, settings = session.recipe, session.settings
    trackers_of(recipe)
    before = open_folder(session.run, recipe, resume) if session.main else settings.epochs
    if recipe.config["recipe"]["tiny"]:
        session.note(f"warning: {TOLD}")
    parts = fitting_parts(recipe)
    start = Start.of(recipe, parts)
    folders = start.folders if start else {}
    annotation = Annotation.of(recipe, str(session.device), session.progress)
    encoders = {at: encoder for at, encoder in parts.encoder_sections.items() if at not in folders}
    if absent := lacking({**encoders, **annotation.sections}):
        raise PartError("\n".join(absent), where=recipe.path, code="part.not-there")
    metrics = checked_metrics(recipe)
    processes = session.accelerator.num_processes
    captured, why_not = wants_graphs(parts, settings, session.device, processes)
    if why_not:
        session.note(why_not)

    def look(raw: Mapping[str, Split]) -> None:
        if annotation.over("examples"):
            refuse(examine(recipe, parts, raw, annotated=False, pictures=False), recipe)

    splits = read_splits(recipe, recipe.parts("data"), annotation=annotation, look=look)
    for message in notes_of(splits.values()):
        session.note(message)
    reports = examine(recipe, parts, splits)
    for message in warnings_of(reports):
        session.note(message)
    refuse(reports, recipe)
    entities = splits[ENTITIES].entities if ENTITIES in splits else ()
    train = splits["train"].examples
    model = assemble(recipe, parts=parts, examples=train, entities=entities, folders=folders)
    taken = start.give(model) if start else None
    for line in taken.lines() if taken else ():
        session.note(line)
    read_by = {} if recipe.config["recipe"]["tiny"] else parts.encoder_sections  # as `mmkit check` does
    for message in (*unknown_words(read_by, train), *spaces_alone(read_by, train)):
        session.note(f"warning: {message}")
    precision = pick_precision(settings.precision, session.device, model)
    spread = None if settings.shard == "no" else sharded(model, session.device, precision)
    if spread is not None:
        session.note(spread.described())
    model = model.to(session.device)
    begun: dict[str, Any] = (
        {KEY: {"run": str(start.run.folder), "files": start.files(), **taken.to_json()}}
        if start and taken
        else {}
    )
    if earlier := made_of(runs_of(recipe, parts)):
        begun[MADE_OF] = earlier
    facts = _begin(session, model, splits, {"precision": precision, **begun})
    examples = {name: splits[name].examples for name in split_names(recipe)}
    prepared = prepare_model(
        model, examples, settings, trained_on="train", note=session.note, progress=session.progress
    )
    seen = bool(annotation.over("examples"))
    for name, items in prepared.items.items():
        for message in unread_notes(splits[name], items, model.decoder, model.reading, annotated=seen):
            session.note(message)
    if ENTITIES in splits:
        for message in entity_notes(splits[ENTITIES], model.entity_side):
            session.note(message)
    for message in encoding_cost(model.entity_side, len(entities), len(train), settings):
        session.note(message)
    if resume and model.entity_side is not None and session.run.has_checkpoint():
        for message in encoded_again(model.entity_side):
            session.note(message)
    features = {
        name: {"items": report.items, "missing": len(report.missing), "broken": len(report.broken)}
        for name, report in prepared.features.items()
    }
    inference = Inference(
        model,
        precision,
        settings.eval_batch_size,
        pick_workers(settings.workers, model, local_processes(processes)),
        session.accelerator.process_index,
        processes,
        pick_threads(settings.workers, model),
        session.stop.asked,
    )
    facts = {**facts, "features": features}
    return Ready(model, prepared.items, metrics, inference, facts, before, spread, captured)


def _begin(
    session: Session, model: Model, splits: Mapping[str, Split], start: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the run's files before the first update; returns the content of `run.json` so far."""
    data = {name: split.origin for name, split in splits.items()}
    facts = {
        **environment(session.recipe, session.device),
        "data": data,
        **start,
        **session.launch.facts(),
    }
    if session.run.json_file.exists():
        begun = session.run.facts()
        check_data(begun, facts)
        check_start(begun, facts)
        if (before := begun.get("precision", facts["precision"])) != facts["precision"]:
            session.note(
                f"warning: the run was in {before} so far, and goes on in {facts['precision']} on this device"
            )
        facts |= {key: begun[key] for key in ("started", "recipe", MADE_OF) if key in begun}
    session.accelerator.wait_for_everyone()
    if session.main:
        if session.run.json_file.exists():  # of a complete run: it has checksums, also of the recipe
            session.run.save_json({**facts, "status": "unfinished"})
        session.launch.mark(session.run)
        session.run.save_recipe(session.recipe, model)
        session.run.save_json({**facts, "status": "unfinished"})
        session.launch.unmark(session.run)
    return facts
