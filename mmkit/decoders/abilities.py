"""What some decoders can do beside predicting: protocols, looked at with `isinstance`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from mmkit.batch import Features, States
from mmkit.data.types import Example, GoldRank
from mmkit.entities.linked import LinkedEntities
from mmkit.scorers.base import Scorer


@runtime_checkable
class RanksGold(Protocol):
    """A decoder that says where its ranking puts the gold entities.

    Evaluation alone asks it, after `decode`, with the states of the same forward pass. What `decode` predicts knows
    nothing of gold.
    """

    def rank(self, states: States, examples: Sequence[Example]) -> list[GoldRank]:
        """The rank of each example's gold entity; the examples are the batch's, in order, with their gold."""
        ...


@runtime_checkable
class ScoresLabels(Protocol):
    """A decoder whose scores of labels another model can read, by `mmkit.run.v1`."""

    score_names: frozenset[str]
    """What `scores` gives; empty if its settings, or a subclass, make it nothing that others can read."""

    def scores(self, states: States) -> Features:
        """`logits [B, R]` of a classifier; of a tagger `emissions [B, W, K]` of words, zero beyond `lengths [B]`."""
        ...


@runtime_checkable
class LinksEntities(Protocol):
    """A decoder that links to the entities of a knowledge base."""

    entity_encoder: str | None
    """The encoder of `[model.encoders]` that reads them, in a recipe without `[model.entities]`."""

    def link_to(self, entities: LinkedEntities) -> None:
        """Take the entities, after `build` and before the first batch."""
        ...

    def check_scorer(self, scorer: Scorer) -> None:
        """Raise `PartError` for a scorer that it cannot be trained or ranked with."""
        ...
