"""Station 4, the fuser: decides when each encoder runs, and combines what they give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import nn

from mmkit.batch import Batch, States
from mmkit.encoders.base import Encoder

ALIGNMENT = frozenset({"word_index", "first_subword", "marker_index"})
"""Names of states that say where an example's tokens and markers are among the subwords (see `mmkit.batch`)."""


class Fuser(nn.Module, ABC):
    """Names its encoders by constructor argument (`text: str = "text"`), so that a recipe may call them anything.

    `provides` are the state names it gives; after `build`, `dims` says how wide the main ones are.
    """

    provides: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.dims: dict[str, int] = {}

    @abstractmethod
    def requires(self) -> dict[str, frozenset[str]]:
        """Encoder name → the features or abilities it must provide; checked when the model is assembled."""

    @abstractmethod
    def build(self, encoders: Mapping[str, Encoder]) -> None:
        """Make the modules, now that every encoder knows its `dim`, and fill `dims`."""

    @abstractmethod
    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        """Run the encoders on `batch.inputs[name]` and fuse."""
