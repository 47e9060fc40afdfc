"""Station 3, the encoder: text or images become features."""

from __future__ import annotations

import importlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, Image, TextView
from mmkit.encoders.cut import Cut
from mmkit.errors import MMKitError


class Encoder(nn.Module, ABC):
    """Turns examples into features. The constructor takes hyperparameters; it reads no file and needs no network.

    `build` makes the network; after it, `dim` is the width of the main feature. `provides` names the features that
    `forward` returns. Further abilities of encoders, for fusers, are in `mmkit.encoders.abilities`.
    """

    provides: frozenset[str] = frozenset()
    frozen: bool = False
    dim: int = 0
    is_run: ClassVar[bool] = False
    """Whether it is a trained run: its setting `run` names the folder, and `recipe` the recipe that trains one."""
    causal: bool = False
    """Whether a token's state sees only the tokens before it (a causal language model); known after `build`."""

    @property
    def captures(self) -> bool | str:
        """Whether its `forward` in training can be recorded in a CUDA graph: True, or why not; False: it does not say.

        A graph repeats the same operations on tensors of the same shapes. So nothing may wait for the device
        (`nonzero`, `item`, a mask as an index), and nothing that Python computes may differ between batches of the same
        shapes. A class says it for itself: what a base class says does not count for one that derives from it.
        """
        return False

    def lengthen(self, inputs: dict[str, Tensor], multiple: int) -> dict[str, Tensor]:
        """Collated inputs with lengths padded to multiples of a number, so that few shapes occur; here as they are."""
        return inputs

    @property
    def reads_in_windows(self) -> bool:
        """Whether it reads long texts in several windows, so that not every word's state has seen the whole text."""
        return False

    @abstractmethod
    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Make the network from its pretrained weights or, with `saved`, from the files that `save` wrote there.

        With `saved`, nothing is downloaded and weights stay as initialised (the run's own are loaded later). Raises
        `PartError` if the weights cannot be loaded.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write configuration and tokenizer, no weights, so that `build(saved=folder)` works offline."""

    @abstractmethod
    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        """CPU tensors of a batch, made in a loader worker; `views[i]` are the decoder's views of `examples[i]`."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Features of a collated batch that is already on this module's device."""

    def check_reads(self, kind: type[Example] | type[Entity]) -> None:
        """Raise `PartError` if such records do not have what this encoder's settings make it read."""

    def check_there(self) -> None:
        """Raise `MMKitError` if something that it needs, such as a trained run, is missing. Loads nothing."""

    def problems(self) -> Iterator[MMKitError]:
        """Everything that would keep `build` from working and can be seen without it: loads and fetches no weights.

        As `check_there`, which it asks, but for more than one thing.
        """
        try:
            self.check_there()
        except MMKitError as error:
            yield from error.each or (error,)

    def weight_bytes(self) -> int | None:
        """Size of the pretrained weights that `build` reads from this machine; None if it would fetch some.

        An encoder that does not say so is not built only to see whether it can be.
        """
        return None

    def length(self, example: Example, views: Mapping[str, TextView]) -> int:
        """The length of an example for this encoder, in subwords, by which batches are sorted; 0: no matter."""
        return 0

    @property
    def reads_pictures(self) -> bool:
        """Whether it looks at images, and has to do with a blank one where there is none."""
        return False

    def cut(self, example: Example, views: Mapping[str, TextView]) -> Cut | None:
        """What it leaves unread of an example's texts, which are longer than it takes; None: nothing."""
        return None

    def pictures_read(self, example: Example | Entity) -> Sequence[Image] | None:
        """Those of an example's images that it looks at; None where it does not say."""
        return None

    def build_tokenizer(self, special_tokens: Sequence[str] = ()) -> bool:
        """Load what `length` and `cut` need, and no weights: it is asked how long texts are, and never run.

        False if that takes `build`. Raises `PartError` as `build` does.
        """
        return type(self).length is Encoder.length

    def expect_new(self) -> None:
        """Be told that records come once from now on, as in a stream: do not keep much for another time."""

    def train(self, mode: bool = True) -> Self:
        """Like torch's, but a frozen encoder stays in evaluation mode (dropout, batch-norm statistics)."""
        return super().train(mode and not self.frozen)

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny stand-in for the pretrained backbone to `folder`; return constructor overrides."""
        return {}


def __getattr__(name: str) -> Any:
    """Names that were once defined here: items have their own modules now, and encoders of items another contract."""
    new = {
        "BLANK": "mmkit.encoders.items",
        "is_blank": "mmkit.encoders.items",
        "ItemEncoder": "mmkit.encoders.old_items",
    }
    if name not in new:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    hint = " (docs/plugins.md says what changed)" if name == "ItemEncoder" else ""
    warnings.warn(f"mmkit.encoders.base.{name} is now in {new[name]}{hint}", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module(new[name]), name)
