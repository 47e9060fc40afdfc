"""What some decoders can do beside predicting: protocols, looked at with `isinstance`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from mmkit.batch import States
from mmkit.data.types import Example, GoldRank


@runtime_checkable
class RanksGold(Protocol):
    """A decoder that says where its ranking puts the gold entities.

    Evaluation alone asks it, after `decode`, with the states of the same forward pass. What `decode` predicts knows
    nothing of gold.
    """

    def rank(self, states: States, examples: Sequence[Example]) -> list[GoldRank]:
        """The rank of each example's gold entity; the examples are the batch's, in order, with their gold."""
        ...
