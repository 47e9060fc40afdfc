"""Station 4, the fuser: decides when each encoder runs, and combines their features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import nn

from mmkit.batch import Batch, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.needs import Needs

ALIGNMENT = frozenset({"word_index", "first_subword", "marker_index"})
"""Names of states with the positions of an example's tokens and markers among the subwords (see `mmkit.batch`)."""


class Fuser(nn.Module, ABC):
    """Gets the names of its encoders as constructor arguments (`text: str = "text"`), so that a recipe may choose them.

    `provides` are the names of its states; after `build`, `dims` says how wide the main ones are. Both are compared
    with the states of the first batch. The encoders may also be those of entities: then the batch contains entities.
    """

    provides: frozenset[str] = frozenset()
    provides_in_training: frozenset[str] = frozenset()
    """Further states, which it gives only in batches with targets."""

    def __init__(self) -> None:
        super().__init__()
        self.dims: dict[str, int] = {}

    @property
    def captures(self) -> bool | str:
        """Whether its `forward` in training can be recorded in a CUDA graph; see `Encoder.captures`."""
        return False

    @abstractmethod
    def requires(self) -> Mapping[str, Needs | frozenset[str]]:
        """Encoder name → its needs, or names of features alone. Checked when the model is assembled."""

    @abstractmethod
    def build(self, encoders: Mapping[str, Encoder]) -> None:
        """Make the modules, when every encoder knows its `dim`, and fill `dims`."""

    @abstractmethod
    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        """Run the encoders on `batch.inputs[name]` and fuse."""
