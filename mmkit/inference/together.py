"""Answers to the batches of a plan: to each at once, or to many together where the decoder prefers that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.distributed as dist

from mmkit.batch import Batch, Features, States
from mmkit.data.types import GoldRank, Prediction
from mmkit.decoders.abilities import AnswersTogether
from mmkit.decoders.search_shares import all_ask
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
    """Called with one planned batch after the other, it returns the answers that are known by then; `rest` the others.

    An answer does not depend on what else is answered together with it.
    """

    model: Model
    items: Sequence[Item]
    ranking: bool
    """Whether the ranks of gold entities are asked for."""
    processes: int = 1
    """Those that each answer their own batches at the same time."""
    _waiting: list[tuple[list[int], States]] = field(default_factory=list)
    """Positions of items, and what the decoder keeps of their states."""

    def __call__(self, batch: Batch, chosen: Sequence[int]) -> list[Answer]:
        with torch.inference_mode():
            states = self.model.states(batch)
            decoder = self.model.decoder
            kept = decoder.kept(states) if isinstance(decoder, AnswersTogether) else None
            if kept is None:
                return self._answered(states, batch, chosen)
            self._waiting.append((list(chosen), _alone(kept)))
            enough = sum(len(some) for some, _ in self._waiting) >= MOST
            return self._of_waiting() if enough and not self._collective else []

    def rest(self) -> list[Answer]:
        """The answers that are still due, when all batches were given; all processes must call it."""
        with torch.inference_mode():
            return self._in_rounds() if self._collective else self._of_waiting()

    @property
    def _collective(self) -> bool:
        decoder = self.model.decoder
        return self.processes > 1 and isinstance(decoder, AnswersTogether) and decoder.collective()

    def _of_waiting(self) -> list[Answer]:
        chosen, tensors = self._joined()
        return self._answered(States(tensors), None, chosen) if chosen else []

    def _joined(self) -> tuple[list[int], Features]:
        waiting, self._waiting = self._waiting, []
        names = waiting[0][1].tensors if waiting else ()
        joined = {name: torch.cat([states[name] for _, states in waiting]) for name in names}
        return [i for some, _ in waiting for i in some], joined

    def _in_rounds(self) -> list[Answer]:
        """Answers for `MOST` items of each process at a time; one that has no more still takes part."""
        chosen, tensors = self._joined()
        shapes = {name: (tensor.shape[1:], tensor.dtype) for name, tensor in tensors.items()}
        every: list[tuple[int, dict[str, tuple[torch.Size, torch.dtype]]]] = [(0, {})] * self.processes
        dist.all_gather_object(every, (len(chosen), shapes))
        most, known = max(every, key=lambda one: one[0])
        for name, (shape, dtype) in known.items():
            tensors.setdefault(name, torch.empty(0, *shape, dtype=dtype, device=self.model.device))
        answers: list[Answer] = []
        for first in range(0, most, MOST):
            some = {name: tensor[first : first + MOST] for name, tensor in tensors.items()}
            with all_ask():
                answers += self._answered(States(some), None, chosen[first : first + MOST])
        return answers

    def _answered(self, states: States, batch: Batch | None, chosen: Sequence[int]) -> list[Answer]:
        if batch is None:
            batch = Batch(tuple(self.items[i].question for i in chosen), {})
        gold = [self.items[i].example for i in chosen] if self.ranking else None
        predictions, ranks = self.model.answers(states, batch, gold)
        return [Answer(*found) for found in zip(chosen, predictions, ranks, strict=True)]


def _alone(states: States) -> States:
    """The states without what is in memory only as part of views: one row of a text would keep all its words."""
    rows = {
        name: tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor
        for name, tensor in states.tensors.items()
    }
    return States(rows)
