"""Frozen features before training: computed once, then laid where the batches gather them fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from mmkit.data.types import Entity, Example
from mmkit.encoders.store import Preparation, prepare
from mmkit.model import Model
from mmkit.training.memory import free_memory
from mmkit.training.settings import TrainingSettings


def prepare_features(
    model: Model,
    examples: Iterable[Example | Entity],
    device: torch.device,
    settings: TrainingSettings,
    progress: Callable[[str, int, int], None] | None,
) -> dict[str, Preparation]:
    """Store the features of every frozen encoder of items, and place them on `device` if they fit.

    They fit if they take no more than `training.feature_memory` of the memory that is free there; otherwise batches
    copy their rows from the memory-mapped store. Returns what was computed, missing or broken, by encoder.
    """
    examples = list(examples)
    reports = {}
    for name, encoder in model.item_encoders().items():

        def report(done: int, total: int, name: str = name) -> None:
            if progress:
                progress(f"features of {name}", done, total)

        reports[name] = prepare(encoder, examples, progress=report)
        if encoder.stored is not None:
            encoder.stored.place(device, settings.feature_memory * free_memory(device))
    return reports
