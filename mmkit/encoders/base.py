"""Station 3, the encoder: text or pictures become features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, TextView

MissingImages = Literal["error", "blank"]


class Encoder(nn.Module, ABC):
    """Turns examples into features. The constructor takes hyperparameters and touches no disk or network.

    `build` makes the network; after it, `dim` is the width of the main feature. `provides` names the features
    `forward` returns, and abilities such as `prefix` that a fuser may ask for.
    """

    provides: ClassVar[frozenset[str]] = frozenset()
    frozen: bool = False
    dim: int = 0

    @abstractmethod
    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Make the network from its pretrained weights or, given `saved`, from the configuration `save` wrote there.

        With `saved` nothing is fetched and weights are left as initialised (the run's own are loaded after).
        Raises `PartError` if the weights cannot be had.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write configuration, tokenizer and processor, no weights, so that `build(saved=folder)` works offline."""

    @abstractmethod
    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        """CPU tensors of a batch, made in a loader worker. `views[i]` are the decoder's views of `examples[i]`."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Features of a collated batch that is already on this module's device."""

    def length(self, view: Mapping[str, TextView]) -> int:
        """What an example costs this encoder, in subwords; batches are bucketed by it. 0: no matter."""
        return 0

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny offline stand-in for the pretrained backbone to `folder`; return constructor overrides."""
        return {}


class ItemEncoder(Encoder):
    """An encoder of separate items (pictures, mostly) whose outputs can be stored once when it is frozen.

    An example has a fixed number of slots; features come out as `[B, slots, ...]`. Subclasses say which items an
    example has, how one is loaded on the CPU, and what the network makes of a stack of them.
    """

    missing_images: MissingImages = "error"
    store: bool = True

    @abstractmethod
    def items(self, x: Example | Entity) -> list[tuple[str, Any]]:
        """(key, raw) of each slot; the key is a hash of the content, so equal pictures are encoded once.

        Raises `ImageError` for a picture that does not exist, unless `missing_images` is "blank". Decodes nothing.
        """

    @abstractmethod
    def load(self, raw: Any) -> Tensor:
        """One item as the network's input. Raises `ImageError` for a broken picture."""

    @abstractmethod
    def network(self, stack: Tensor) -> Features:
        """Features of stacked items, `[N, ...]` each: already reduced to what a fuser needs."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash over weights, preprocessing, part version and dtype: equal means equal outputs."""

    def encode(self, raws: Sequence[Any]) -> Features:
        """Features of loaded items, `[N, ...]`, in evaluation mode and without gradients."""
        raise NotImplementedError
