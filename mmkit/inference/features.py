"""Frozen features before training: computed once, then placed where batches can gather them fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from mmkit.config.settings import TrainingSettings
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Example
from mmkit.decoders.abilities import LinksEntities, PreparesSearch
from mmkit.encoders.store import Preparation, prepare
from mmkit.entities.prepare import linked_entities
from mmkit.errors import DataError
from mmkit.inference.memory import free_memory
from mmkit.model import Model


def prepare_features(
    model: Model,
    examples: Iterable[Example],
    device: torch.device,
    settings: TrainingSettings,
    progress: Callable[[str, int, int], None] | None,
) -> dict[str, Preparation]:
    """Store the features of every frozen encoder of items, and place them on `device` if they fit.

    They fit if they take at most `training.feature_memory` of its free memory; otherwise batches copy their rows from
    the memory-mapped store. Returns counts of computed, missing and broken items, by encoder.
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


def prepare_entities(
    model: Model,
    device: torch.device,
    settings: TrainingSettings,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[str]:
    """Give a decoder that links the features of its knowledge base, on `device` if they fit (see above).

    Returns notes for the user. Raises `DataError` if the model has no knowledge base.
    """
    if model.entity_side is None:
        return []
    if not isinstance(model.entities, KnowledgeBase):
        raise DataError(
            "there is no knowledge base to link to",
            where="data.entities",
            hint="add a [data.entities] section with a reader of entities to the recipe",
            code="task.no-knowledge-base",
        )
    budget = settings.feature_memory * free_memory(device)

    def indexed(done: int, total: int) -> None:
        if progress:
            progress("entities in the search engine", done, total)

    linked, notes = linked_entities(model.entity_side, model.entities, device, budget, progress)
    if isinstance(model.decoder, LinksEntities):
        model.decoder.link_to(linked)
        if isinstance(model.decoder, PreparesSearch):
            notes += model.decoder.prepare_search(indexed)
    elif linked.vectors is not None:  # a decoder that was written for one vector for each entity
        model.decoder.attach(linked.vectors)
    return notes
