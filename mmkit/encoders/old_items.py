"""Encoders of items as they were written before there were sources: they keep working."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mmkit.batch import Features
from mmkit.data.types import Entity, Example
from mmkit.encoders import item_encoder
from mmkit.encoders.items import BLANK, ItemSource, MissingImages, MissingPolicy

_asked: ContextVar[MissingImages | None] = ContextVar(
    "what to do with missing images in this call", default=None
)
ONLY = "items"
"""The name of stacked items that are one tensor."""


class OwnItems(ItemSource[Any, Any]):
    """The items that an old encoder's own methods give."""

    def __init__(self, encoder: ItemEncoder) -> None:
        self.encoder = encoder
        self.drops_blanks = encoder.drops_blanks
        self.pictures = encoder.reads_pictures

    def items(self, x: Example | Entity, missing: MissingImages) -> list[tuple[str, Any]]:
        token = _asked.set(missing)
        try:
            return self.encoder.items(x)
        finally:
            _asked.reset(token)

    def identity(self, x: Example | Entity) -> Hashable:
        return self.encoder.identity(x)

    def load(self, raw: Any) -> Any:
        return self.encoder.load(raw)

    def blank(self) -> Any:
        return self.encoder.blank()

    def stand_in(self, raw: Any) -> tuple[str, Any]:
        return self.encoder.stand_in(raw)

    def stack(self, loaded: Sequence[Any]) -> Features:
        stack = self.encoder.stacked(loaded)
        return {ONLY: self.encoder.trimmed(stack)} if isinstance(stack, Tensor) else stack

    def cost(self, raw: Any) -> int:
        return self.encoder.cost(raw)

    def choice(self) -> Any:
        return self.encoder.choice()


class ItemEncoder(item_encoder.ItemEncoder):
    """The old contract: a subclass implements `items`, `load`, `blank`, `network` and `describe` itself.

    `network` gets the result of `stacked`, a tensor `[N, ...]` or several by name. New encoders give a source to
    `mmkit.encoders.item_encoder.ItemEncoder`. An encoder that overrode `collate`, `forward` or `load_or_blank` must
    be rewritten.
    """

    frozen: bool = False
    store: bool = True
    reads_pictures: bool = False
    drops_blanks: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if changed := sorted(
            {"collate", "forward", "load_or_blank", "encode", "encode_blank"} & set(vars(cls))
        ):
            raise TypeError(
                f"{cls.__name__} overrides {', '.join(changed)}, but encoders of items have another contract now: "
                "derive from mmkit.encoders.item_encoder.ItemEncoder and give it a source (docs/plugins.md, "
                "Encoders of items)"
            )

    def __init__(self, feature_dtype: Literal["float32", "float16"] = "float32") -> None:
        super().__init__(OwnItems(self), frozen=self.frozen, store=self.store, feature_dtype=feature_dtype)

    def pictures_read(self, example: Example | Entity) -> None:
        """Not known: encoders of before did not all say that they read images."""

    @property
    def missing_images(self) -> MissingPolicy:
        """How missing images are treated."""
        return (_asked.get() or self.missing).policy

    @missing_images.setter
    def missing_images(self, policy: MissingPolicy) -> None:
        self.missing.policy = policy

    @property
    def replaced(self) -> dict[str, str]:
        """Items that a blank one replaced, and why."""
        return (_asked.get() or self.missing).replaced

    @abstractmethod
    def items(self, x: Example | Entity) -> list[tuple[str, Any]]:
        """(key, raw) of each slot. Raises `ImageError` for a missing image, unless `missing_images` is "blank"."""

    @abstractmethod
    def load(self, raw: Any) -> Any:
        """One item as the network's input. Raises `ImageError` for a broken image."""

    @abstractmethod
    def blank(self) -> Any:
        """The blank raw item, whose key is `BLANK`."""

    def stand_in(self, raw: Any) -> tuple[str, Any]:
        """(key, raw) of the item that replaces an item with a broken image."""
        return BLANK, self.blank()

    def stacked(self, loaded: Sequence[Any]) -> Any:
        """Loaded items as inputs of `network`: a tensor, or several by name."""
        return torch.stack(list(loaded))

    def trimmed(self, stack: Tensor) -> Tensor:
        """The network's inputs from stacked items on the CPU."""
        return stack

    def identity(self, x: Example | Entity) -> Hashable:
        """Everything on which `items(x)` depends."""
        return x.images

    def choice(self) -> Any:
        """Which of a record's items are used, as JSON; None if that depends on more than the record."""
        return None

    def cost(self, raw: Any) -> int:
        """How much work a raw item is."""
        return 0

    def compute(self, items: Features) -> Features:
        stack: Any = items[ONLY] if set(items) == {ONLY} else items
        return self.network(stack)
