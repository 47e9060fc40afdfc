"""Stored features: from disk, placed on the device, and computed anew, a batch's are the same."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from gpu_sections.context import Context
from mmkit import load_recipe, sampled
from mmkit.config.settings import TrainingSettings
from mmkit.inference.features import prepare_entities, prepare_features
from mmkit.inference.inference import Inference
from mmkit.loading.splits import ENTITIES, read_splits
from mmkit.model import Item, Model, assemble

RECIPES = ("hvpnet_twitter15", "tesga_twitter15", "dwe_wikimel")
"""Grids of fixed slots; features as long as their text; items without blanks, and a knowledge base."""
COMPUTED = 1e-3
"""What features computed in other batches may be off, of the largest or of 1; float16 has 11 bits."""
SCORES = 1e-5
"""What a prediction's scores may be off."""


def run(context: Context) -> None:
    """For a sample of each form of features: encoders' outputs and predictions."""
    for name in RECIPES:
        recipe = sampled(load_recipe(name))
        names = ["test", *([ENTITIES] if ENTITIES in recipe.parts("data") else [])]
        splits = read_splits(recipe, names, context.device_name)
        examples = splits["test"].examples[: 24 if context.tiny else None]
        base = splits[ENTITIES].entities if ENTITIES in splits else ()
        model = assemble(recipe, examples=splits["test"].examples, entities=base).to(context.device).eval()
        items = model.items(examples)
        found: dict[str, Any] = {}
        for where, share in (("disk", 0.0), ("device", 0.5)):
            settings = dataclasses.replace(recipe.training, feature_memory=share)
            found[where] = outputs(model, items, settings, context.device)
            for encoder in model.item_encoders().values():
                placed = encoder.stored is not None and encoder.stored.placed
                context.check(
                    f"{name}: placed {placed}, wanted on {where}", placed != (where == "device"), 0.0
                )
        for encoder in model.item_encoders().values():
            encoder.stored = None
        anew = encoded(model, items, context.device)
        for key, features in found["disk"]["features"].items():
            difference = largest_difference(found["device"]["features"][key], features)
            context.check(f"{name}: {key}, device beside disk", difference, 0.0)
            largest = max(
                [1.0, *(tensor.double().abs().max().item() for tensor in features if tensor.numel())]
            )
            difference = largest_difference(anew[key], features) / largest
            context.check(f"{name}: {key}, computed beside disk", difference, COMPUTED)
        scores = unlike(found["device"]["predictions"], found["disk"]["predictions"])
        context.check(f"{name}: predictions and ranks, device beside disk", scores, SCORES)
        context.row(recipe=name, examples=len(items), features=len(anew))


def outputs(
    model: Model, items: list[Item], settings: TrainingSettings, device: torch.device
) -> dict[str, Any]:
    """Features, predictions and ranks with stored features where `settings.feature_memory` lets them lie."""
    examples = [item.example for item in items]
    prepare_features(model, examples, device, settings, None)
    prepare_entities(model, device, settings)
    predictions = Inference(model, "fp32", 16).predict_and_rank(items)
    return {"features": encoded(model, items, device), "predictions": predictions}


@torch.no_grad()
def encoded(model: Model, items: list[Item], device: torch.device) -> dict[str, list[torch.Tensor]]:
    """What encoders of items give, by encoder and feature, batch by batch."""
    found: dict[str, list[torch.Tensor]] = {}
    for first in range(0, len(items), 8):
        batch = model.collate(items[first : first + 8], targets=False).to(device)
        for name, encoder in model.item_encoders().items():
            for feature, tensor in encoder(batch.inputs[name]).items():
                found.setdefault(f"{name}.{feature}", []).append(tensor.cpu())
    return found


def largest_difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """Of all values; infinite if the shapes differ."""
    if [a.shape for a in ours] != [b.shape for b in theirs]:
        return float("inf")
    return max(
        (a.double() - b.double()).abs().max().item() for a, b in zip(ours, theirs, strict=True) if a.numel()
    )


def unlike(ours: Any, theirs: Any) -> float:
    """By how much numbers in two equal structures differ at most; infinite if anything else differs."""
    if isinstance(ours, float) and isinstance(theirs, float):
        return abs(ours - theirs)
    if dataclasses.is_dataclass(ours) and type(ours) is type(theirs):
        return unlike(vars_of(ours), vars_of(theirs))
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return max((unlike(ours[key], theirs[key]) for key in ours), default=0.0)
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        return max((unlike(a, b) for a, b in zip(ours, theirs, strict=True)), default=0.0)
    return 0.0 if ours == theirs else float("inf")


def vars_of(record: Any) -> dict[str, Any]:
    """A dataclass's fields."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
