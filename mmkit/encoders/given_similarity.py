"""Similarities of photo and sentence that authors published with their data, read from a note."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from mmkit.batch import Features
from mmkit.data.types import Entity, Example
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import ItemSource, MissingImages
from mmkit.errors import DataError, near_misses


class NotedNumbers(ItemSource[float, float]):
    """The number under one key of a record's notes."""

    def __init__(self, key: str) -> None:
        self.key = key

    def items(self, x: Example | Entity, missing: MissingImages) -> list[tuple[str, float]]:
        """The number, which is also its key. Raises `DataError` for a record without it."""
        number = self._noted(x)
        return [(repr(number), number)]

    def identity(self, x: Example | Entity) -> Hashable:
        return self._noted(x)

    def _noted(self, x: Example | Entity) -> float:
        key, number = self.key, x.notes.get(self.key)
        if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
            return float(number)
        if number is not None:
            raise DataError(
                f"the note {key!r} is {number!r:.40}, not a number", where=x.id, code="encoder.wrong-note"
            )
        near = near_misses(key, x.notes)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(
            f"there is no note {key!r}, which is to give the similarity of photo and text",
            where=x.id,
            hint=f"{hint}let the reader write it, or remove `given` so that BLIP computes the similarity",
            code="encoder.no-note",
        )

    def load(self, raw: float) -> float:
        return raw

    def blank(self) -> float:
        return 0.0

    def stack(self, loaded: Sequence[float]) -> Features:
        """`number [N]`."""
        return {"number": torch.tensor(loaded)}


class GivenSimilarity(ItemEncoder):
    """`similarity [B, 1, 1]` from the examples' notes under `key`, and `mask [B, 1]`; all are real."""

    provides = frozenset({"similarity", "mask"})
    version: ClassVar[str] = "mmkit.blip_similarity.v1"
    dim = 1

    def __init__(self, key: str, *, store: bool = True) -> None:
        super().__init__(NotedNumbers(key), store=store)

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Makes nothing: numbers need no network."""

    def weight_bytes(self) -> int | None:
        return 0

    def save(self, folder: Path) -> None:
        """Writes nothing."""

    def describe(self) -> dict[str, Any]:
        return {"given": True}

    def network(self, items: Features) -> Features:
        """`similarity [N, 1]` of `number [N]`."""
        return {"similarity": items["number"][:, None]}
