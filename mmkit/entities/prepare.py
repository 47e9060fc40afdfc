"""Before the first batch: features of entities from frozen encoders are stored, and a decoder gets the entities."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mmkit.data.knowledge import KnowledgeBase
from mmkit.encoders.entity_features import (
    EntityFeatures,
    TrainedEntities,
    encode_entities,
    has_one_item,
)
from mmkit.encoders.entity_shares import SharedEntities
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.store import prepare
from mmkit.entities.linked import LinkedEntities
from mmkit.entities.side import EntitySide
from mmkit.entities.tensors import EntityTensors, Vectors

Progress = Callable[[str, int, int], None]
"""Called with a label, how many are done, and how many there are."""


def linked_entities(
    side: EntitySide,
    base: KnowledgeBase,
    device: torch.device,
    budget_bytes: float,
    progress: Progress | None = None,
) -> tuple[LinkedEntities, list[str]]:
    """The entities for a decoder, and notes for the user. Tensors that fit into `budget_bytes` are kept on `device`."""
    at = "model.encoders" if side.lent else "model.entities.encoders"
    for name, encoder in side.named_encoders.items():
        if side.only_vectors is not encoder or not isinstance(encoder, ItemEncoder):
            continue
        if (encoder.frozen or not encoder.source.pictures) and has_one_item(encoder, base[0]):
            features, notes = vectors_of(encoder, f"{at}.{name}", base, device, budget_bytes, progress)
            return LinkedEntities.of_vectors(features, side.scorer), notes
    notes = []
    for name, encoder in side.named_encoders.items():
        if not (isinstance(encoder, ItemEncoder) and encoder.frozen and encoder.store):
            continue

        def report(done: int, total: int, name: str = name) -> None:
            if progress:
                progress(f"entity features of {name}", done, total)

        found = prepare(encoder, base, progress=report)
        notes.append(f"{at}.{name}: {found}")
    budget = budget_bytes / 2  # stored features that are read only once need no memory on the device

    def encoded(done: int, total: int) -> None:
        if progress:
            progress("entities", done, total)

    tensors = EntityTensors(side, base, device, budget, encoded)
    vectors: EntityFeatures | None = None
    if side.scorer.vectors is not None:
        name = side.scorer.vectors[1]
        vectors = Vectors(tensors, name, side.fuser.dims[name])
    return LinkedEntities(tensors, side.scorer, vectors, side.reranker, side.settings.depth), notes


def vectors_of(
    encoder: ItemEncoder,
    where: str,
    base: KnowledgeBase,
    device: torch.device,
    budget_bytes: float,
    progress: Progress | None = None,
) -> tuple[EntityFeatures, list[str]]:
    """One vector for each entity, from the encoder in the section `where`; and notes for the user."""
    if not encoder.frozen:
        return TrainedEntities(encoder, base), []

    def report(done: int, total: int) -> None:
        if progress:
            progress(f"entity features of {where.rpartition('.')[2]}", done, total)

    features = encode_entities(encoder, base, progress=report)
    shared = SharedEntities.of(features, device, budget_bytes)
    if shared is None:
        features.place(device, budget_bytes)
    found: EntityFeatures = shared or features
    if any(block.any() for _, block in features.blocks()):
        return found, []
    return found, [f"{where}: warning: no entity has what this encoder reads: all get the same features"]
