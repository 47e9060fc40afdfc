"""What tests of linkers share: features that are given, and golden mentions and entities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmkit.batch import Features
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example
from mmkit.decoders.entity_matcher import EntityMatcher
from mmkit.encoders.base import Encoder
from mmkit.encoders.entity_features import StoredEntities
from mmkit.recipe import load_recipe


class Given(Encoder):
    """Gives its inputs back as features."""

    provides = frozenset({"pooled", "mask"})

    def __init__(self, dim: int = 512) -> None:
        super().__init__()
        self.dim = dim

    def build(self, special_tokens=(), saved=None): ...

    def save(self, folder): ...

    def collate(self, examples, views):
        raise NotImplementedError

    def forward(self, inputs: Features) -> Features:
        return inputs


@dataclass
class Table:
    """Features of entities in memory, handed out in blocks of `size` rows."""

    features: Tensor
    size: int = 1000

    @property
    def dim(self) -> int:
        return self.features.shape[1]

    @property
    def device(self) -> torch.device:
        return self.features.device

    def __len__(self) -> int:
        return len(self.features)

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        for first in range(0, len(self), self.size):
            yield first, self.features[first : first + self.size]

    def gather(self, rows: Tensor) -> Tensor:
        return self.features[rows].float()


def golden_features(golden: Features, roles: dict[str, str]) -> dict[str, Features]:
    """What our encoders (by name → the golden tensor's) give of the golden mentions."""
    features = {ours: golden[theirs] for ours, theirs in roles.items()}
    return {name: {"pooled": x, "mask": x.any(-1)} for name, x in features.items()}


def weighted(losses: dict[str, Tensor], recipe: str) -> Tensor:
    """The sum of the losses `[1]` as a recipe weighs them."""
    weights = load_recipe(recipe).training.loss_weights
    return sum(weights.get(name, 1.0) * loss for name, loss in losses.items()).reshape(1)


def attach_golden(decoder: EntityMatcher, golden: Features, folder: Path) -> None:
    """Give the decoder a knowledge base of the golden entities, and their features."""
    kinds = ("positive", "negative", "candidates")
    ids = [f"{kind} {i} {j}" for kind in kinds for i, row in enumerate(golden[kind]) for j in range(len(row))]
    base = KnowledgeBase.build(folder / "entities", [Entity(id, id) for id in ids])
    decoder.build({"query": 512}, {}, base)
    decoder.attach(StoredEntities([torch.cat([golden[kind].flatten(0, 1) for kind in kinds])]))


def golden_mentions(golden: Features, listed: str) -> tuple[Example, ...]:
    """The mentions with their gold entity, and as candidates the golden ones of a kind."""
    count = golden[listed].shape[1]
    return tuple(
        Example.from_tokens(
            str(i),
            ["x"],
            entity=f"positive {i} 0",
            candidates=tuple(f"{listed} {i} {j}" for j in range(count)),
        )
        for i in range(len(golden["query"]))
    )
