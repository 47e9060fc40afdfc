"""Station 4, the fuser: decides when each encoder runs, and combines what they give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import nn

from mmkit.batch import Batch, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.needs import Needs

ALIGNMENT = frozenset({"word_index", "first_subword", "marker_index"})
"""Names of states that say where an example's tokens and markers are among the subwords (see `mmkit.batch`)."""


class Fuser(nn.Module, ABC):
    """Names its encoders by constructor argument (`text: str = "text"`), so that a recipe may call them anything.

    `provides` are the state names it gives; after `build`, `dims` says how wide the main ones are. Both are compared
    with the first batch's states. Encoders may also be those of entities: then the batch holds entities.
    """

    provides: frozenset[str] = frozenset()
    provides_in_training: frozenset[str] = frozenset()
    """States beside these that it gives where there are targets to train against, and only there."""

    def __init__(self) -> None:
        super().__init__()
        self.dims: dict[str, int] = {}

    @abstractmethod
    def requires(self) -> Mapping[str, Needs | frozenset[str]]:
        """Encoder name → what it must give; names of features alone will do. Checked when the model is assembled."""

    @abstractmethod
    def build(self, encoders: Mapping[str, Encoder]) -> None:
        """Make the modules, now that every encoder knows its `dim`, and fill `dims`."""

    @abstractmethod
    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        """Run the encoders on `batch.inputs[name]` and fuse."""
