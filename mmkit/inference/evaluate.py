"""Scoring a trained run on one of its splits, exactly as training's own test does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit.access.network import without_network
from mmkit.checking.examine import examine, refuse, warnings_of
from mmkit.checking.unread import entity_notes, unread_notes
from mmkit.data.types import Prediction
from mmkit.errors import RunError
from mmkit.files import check_inside, write_json
from mmkit.fit import fitting_parts
from mmkit.hooks import registered
from mmkit.inference.devices import pick_device, pick_precision
from mmkit.inference.inference import Inference
from mmkit.inference.loader import pick_threads, pick_workers
from mmkit.inference.memory import memory_advice
from mmkit.inference.prepare import prepare_model
from mmkit.loading.annotation import Annotation
from mmkit.loading.split import ENTITIES, notes_of
from mmkit.loading.splits import check_split, read_splits_of_run
from mmkit.loading.stand_ins import TOLD
from mmkit.metrics.scoring import metrics_of, nothing_to_score
from mmkit.recipe import Recipe
from mmkit.runs.folder import Run
from mmkit.runs.opening import check_own_place, open_run


def evaluate(
    run: str | Path,
    split: str = "test",
    *,
    recipe: Recipe | None = None,
    device: str = "auto",
    output: str | Path | None = None,
    hooks: Sequence[object] = (),
    allow_network: bool = False,
) -> tuple[dict[str, float], list[Prediction]]:
    """Scores and predictions of `split`. `run` is a folder, or an address as for `mmkit.load`.

    `recipe` replaces the run's own (with another data folder, for example).
    Writes `predictions/<split>.jsonl` and `evaluations/<split>.json` into `output` (default: the run's folder).
    Raises `DataError` if there is no such split of examples, and `RunError` if `recipe` changes it, or the knowledge
    base, and there is no `output`, or if an address names the run and there is none.
    `hooks` are further hook implementations; they get progress and notes, like those of installed plugins.
    The folder may be somebody else's: nothing is written elsewhere, and servers that its recipe names, and the Hugging
    Face Hub, are contacted only with `allow_network`.
    """
    check_own_place(run, output)
    folder = Run(open_run(run))
    own = folder.recipe()
    recipe = recipe or own
    check_split(recipe, split)
    changed = [s for s in (split, ENTITIES) if recipe.config["data"].get(s) != own.config["data"].get(s)]
    if output is None and changed:
        raise RunError(
            f"data.{changed[0]} is not what the run was made with, and would replace its results",
            where=folder.folder,
            hint="name an --output folder for other data's results",
            code="run.other-data",
        )
    target = Run(output) if output is not None else folder
    scores = target.folder / "evaluations" / f"{split}.json"
    if output is None:
        check_inside(folder.folder, folder.predictions_file(split), scores)
    torch_device = pick_device(device)
    settings = recipe.training
    with (
        registered(*hooks) as plugins,
        memory_advice(settings, training=False),
        without_network(folder.folder, allow=allow_network),
    ):

        def note(message: str) -> None:
            plugins.hook.mmkit_note(message=message)

        def progress(label: str, done: int, total: int) -> None:
            plugins.hook.mmkit_progress(label=label, done=done, total=total)

        if recipe.config["recipe"]["tiny"]:
            note(f"warning: {TOLD}")
        names = [split, ENTITIES] if ENTITIES in recipe.parts("data") else [split]
        annotation = Annotation.of(recipe, str(torch_device), progress, writing=False)
        splits = read_splits_of_run(recipe, names, annotation)
        for message in notes_of(splits.values()):
            note(message)
        data = splits[split]
        reports = examine(recipe, fitting_parts(recipe), splits, training=False, run=folder.folder)
        for message in warnings_of(reports):
            note(message)
        refuse(reports, recipe)
        base = splits[ENTITIES].entities if ENTITIES in splits else ()
        model = folder.model(recipe, base, allow_network=allow_network).to(torch_device)
        for message in _unlearnt(reports[split].labels, model.labels):
            note(f"data.{split}: warning: {message}")
        ready = prepare_model(model, {split: data.examples}, settings, note=note, progress=progress)
        seen = bool(annotation.over("examples"))
        if ENTITIES in splits:
            for message in entity_notes(splits[ENTITIES], model.entity_side):
                note(message)
        for message in unread_notes(data, ready.items[split], model.decoder, model.reading, annotated=seen):
            note(message)
        precision = pick_precision(settings.precision, torch_device, model)
        workers, threads = (pick(settings.workers, model) for pick in (pick_workers, pick_threads))
        inference = Inference(model, precision, settings.eval_batch_size, workers, threads=threads)
        metrics = metrics_of(recipe)
        figures, predictions = inference.evaluate(ready.items[split], metrics)
        if unscored := nothing_to_score(metrics, figures):
            note(f"data.{split}: warning: {unscored}")
        target.save_predictions(split, predictions)
        write_json(scores, {"split": split, **figures, "data": data.origin})
        examples = [item.example for item in ready.items[split]]
        plugins.hook.mmkit_scored(
            folder=target.folder, split=split, recipe=recipe, examples=examples, predictions=predictions
        )
    return figures, predictions


def _unlearnt(there: Mapping[str, Counter[str]], learnt: Mapping[str, Any]) -> list[str]:
    """A line for labels of the data that the model cannot give: what they stand for counts as missed."""
    said = []
    for kind, known in (("spans", learnt.get("types")), ("relations", learnt.get("relations"))):
        unlearnt = {} if known is None else {x: n for x, n in there.get(kind, {}).items() if x not in known}
        if unlearnt:
            told = ", ".join(f"{label!r} ({count:,})" for label, count in unlearnt.items())
            said.append(f"{kind} labels that the model never learnt, so that it cannot find them: {told}")
    return said
