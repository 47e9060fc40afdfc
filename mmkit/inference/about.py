"""What a loaded model is, in a few lines: its `repr`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from mmkit.decoders.base import label_lists
from mmkit.metrics.scoring import weights_of
from mmkit.model import Model
from mmkit.recipe import Recipe

SHOWN = 12
"""The number of labels that are named; more are counted."""


def about(
    recipe: Recipe, model: Model, device: torch.device, figures: Mapping[str, Mapping[str, float]]
) -> str:
    """Task, labels, encoders and the score on dev, one a line; what is not known has no line."""
    lines = {
        "task": model.decoder.task.name,
        "labels": "; ".join(_labels(model.labels)),
        "encoders": "; ".join(f"{name} ({_part(recipe, name)})" for name in model.named_encoders),
        "entities": f"{len(model.entities):,} in the knowledge base" if model.entities else "",
        "tiny": "the encoders are untrained stand-ins (--tiny)" if recipe.config["recipe"]["tiny"] else "",
        "dev": _score(recipe, figures.get("dev", {})),
        "device": str(device),
    }
    width = max(map(len, lines))
    told = (f"  {name:{width}}  {line}" for name, line in lines.items() if line)
    return "\n".join([f"mmkit.Predictor of {recipe.path.parent}", *told])


def _labels(labels: Mapping[str, Any]) -> Iterator[str]:
    for kind, names in label_lists(labels).items():
        if kind == "tags" and "types" in labels:
            continue  # the same labels as B- and I-
        if names:
            shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            yield f"{len(names)} {kind}: {shown}"


def _part(recipe: Recipe, encoder: str) -> str:
    """The part of an encoder, and the pretrained network that it is made of, if it has one."""
    settings = recipe.config["model"]["encoders"].get(encoder, {})
    named = settings.get("name")
    return " ".join([str(settings.get("@encoders")), *([named] if isinstance(named, str) else [])])


def _score(recipe: Recipe, scores: Mapping[str, float]) -> str:
    names = weights_of(recipe.training.score)
    return ", ".join(f"{name} {scores[name]:.4f}" for name in names if name in scores)
