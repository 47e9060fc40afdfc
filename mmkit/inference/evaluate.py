"""Scoring a trained run on one of its splits, exactly as training's own test does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmkit.data.types import Prediction
from mmkit.errors import RunError
from mmkit.files import write_json
from mmkit.hooks import registered
from mmkit.inference.devices import pick_device, pick_precision
from mmkit.inference.evaluation import evaluate_items, score
from mmkit.inference.features import check_mentions, check_pictures, prepare_entities, prepare_features
from mmkit.inference.memory import memory_advice
from mmkit.loading.split import ENTITIES
from mmkit.loading.splits import check_split, read_splits
from mmkit.recipe import Recipe
from mmkit.runs.folder import Run


def evaluate(
    run: str | Path,
    split: str = "test",
    *,
    recipe: Recipe | None = None,
    device: str = "auto",
    output: str | Path | None = None,
    hooks: Sequence[object] = (),
) -> tuple[dict[str, float], list[Prediction]]:
    """Figures and predictions of `split`. `recipe` replaces the run's own (another data folder, say).

    Writes `predictions/<split>.jsonl` and `evaluations/<split>.json` into `output` (default: the run's folder).
    Raises `DataError` if there is no such split of examples, and `RunError` if `recipe` changes it, or the knowledge
    base, and there is no `output`.
    `hooks` are hook implementations beside the installed plugins' that hear of progress and get notes.
    """
    folder = Run(run)
    own = folder.recipe()
    recipe = recipe or own
    check_split(recipe, split)
    changed = [s for s in (split, ENTITIES) if recipe.config["data"].get(s) != own.config["data"].get(s)]
    if output is None and changed:
        raise RunError(
            f"data.{changed[0]} is not what the run was made with, and would replace its results",
            where=folder.folder,
            hint="name an --output folder for other data's results",
        )
    torch_device = pick_device(device)
    settings = recipe.training
    with registered(*hooks) as plugins, memory_advice(settings, training=False):

        def progress(label: str, done: int, total: int) -> None:
            plugins.hook.mmkit_progress(label=label, done=done, total=total)

        names = [split, ENTITIES] if ENTITIES in recipe.parts("data") else [split]
        splits = read_splits(recipe, names, str(torch_device), progress)
        data = splits[split]
        base = splits[ENTITIES].entities if ENTITIES in splits else ()
        model = folder.model(recipe, base).to(torch_device)
        notes = [note for some in splits.values() for note in some.notes()]
        notes += check_mentions(model, split, data.examples)
        notes += prepare_entities(model, torch_device, settings, progress)
        reports = prepare_features(model, data.examples, torch_device, settings, progress)
        notes += [f"model.encoders.{name}: {report}" for name, report in reports.items()]
        for note in [*notes, *check_pictures(model, data.examples)]:
            plugins.hook.mmkit_note(message=note)
        items = model.items(data.examples)
        precision = pick_precision(settings.precision, torch_device)
        found = evaluate_items(model, items, settings.eval_batch_size, precision, workers=settings.workers)
        evaluated = sorted(found, key=lambda one: one.index)
        predictions = [one.prediction for one in evaluated]
    metrics = {name: recipe.build(f"metrics.{name}") for name in recipe.parts("metrics")}
    ranks = [one.rank for one in evaluated]
    figures = score(metrics, [item.example for item in items], predictions, ranks)
    target = Run(output) if output is not None else folder
    target.save_predictions(split, predictions)
    summary = {"split": split, **figures, "data": data.origin}
    write_json(target.folder / "evaluations" / f"{split}.json", summary)
    return figures, predictions
