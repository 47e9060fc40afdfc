"""Answers to the batches of a plan: to each at once, or to many together where the decoder prefers that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from mmkit.batch import Batch, States
from mmkit.data.types import Example, GoldRank, Prediction
from mmkit.decoders.abilities import AnswersTogether
from mmkit.model import Item, Model

MOST = 4096
"""Examples that are answered together: their scores of a block of entities must fit into memory."""


class Answer(NamedTuple):
    """To one item."""

    at: int
    """Its position among the items."""
    prediction: Prediction
    rank: GoldRank | None


@dataclass
class Answering:
    """Called with one planned batch after the other, it returns the answers that are known by then.

    With the last of the `batches`, all are. An answer does not depend on what else is answered together with it.
    """

    model: Model
    items: Sequence[Item]
    batches: int
    ranking: bool
    """Whether the ranks of gold entities are asked for."""
    _waiting: list[tuple[States, tuple[Example, ...]]] = field(default_factory=list)
    _chosen: list[int] = field(default_factory=list)

    def __call__(self, batch: Batch, chosen: Sequence[int]) -> list[Answer]:
        self.batches -= 1
        with torch.inference_mode():
            states = self.model.states(batch)
            decoder = self.model.decoder
            kept = decoder.kept(states) if isinstance(decoder, AnswersTogether) else None
            if kept is None:
                return self._answered(states, batch, chosen)
            self._waiting.append((kept, batch.examples))
            self._chosen += chosen
            if self.batches and len(self._chosen) < MOST:
                return []
            every, examples = zip(*self._waiting, strict=True)
            chosen, self._waiting, self._chosen = self._chosen, [], []
            names = every[0].tensors
            joined = States({name: torch.cat([states[name] for states in every]) for name in names})
            asked = tuple(example for some in examples for example in some)
            return self._answered(joined, Batch(asked, {}), chosen)

    def _answered(self, states: States, batch: Batch, chosen: Sequence[int]) -> list[Answer]:
        gold = [self.items[i].example for i in chosen] if self.ranking else None
        predictions, ranks = self.model.answers(states, batch, gold)
        return [Answer(*found) for found in zip(chosen, predictions, ranks, strict=True)]
