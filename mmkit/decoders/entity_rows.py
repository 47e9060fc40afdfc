"""Which rows of a knowledge base examples name: their gold entities and their candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Example
from mmkit.decoders.cosines import NONE

MOST = 100_000
"""Lists of candidates that are remembered: a stream of predictions may have no end."""


class EntityRows:
    """Rows of a knowledge base by examples. What was looked up is remembered."""

    def __init__(self, base: KnowledgeBase) -> None:
        self.base = base
        self._gold: dict[str, int] = {}
        self._listed: dict[tuple[str, ...], np.ndarray[Any, np.dtype[np.int64]]] = {}

    def gold(self, example: Example) -> int:
        """The row of an example's entity; `NONE` if it has none, or if that is not in the knowledge base."""
        if example.entity is None:
            return NONE
        if example.entity not in self._gold:
            self._gold[example.entity] = int(self.base.rows([example.entity])[0])
        return self._gold[example.entity]

    def candidates(self, example: Example) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The row of each candidate, `NONE` if it is not in the knowledge base or is listed again."""
        if example.candidates not in self._listed:
            if len(self._listed) >= MOST:
                self._listed.clear()
            found = self.base.rows(example.candidates)
            _, first = np.unique(found, return_index=True)
            rows = np.full(len(found), NONE)
            rows[first] = found[first]
            self._listed[example.candidates] = rows
        return self._listed[example.candidates]

    def listed(self, examples: Sequence[Example], device: torch.device) -> Tensor:
        """The rows of each example's candidates `[B, C]`, `NONE` for none; C is the most that one lists."""
        listed = [self.candidates(example) for example in examples]
        padded = np.full((len(examples), max(map(len, listed), default=0)), NONE)
        for i, found in enumerate(listed):
            padded[i, : len(found)] = found
        return torch.from_numpy(padded).to(device)
