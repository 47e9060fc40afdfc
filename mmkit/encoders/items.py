"""Separate items of a record that encoders read: images, plain texts, or anything that an `ItemSource` names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar

import torch
from torch import Tensor

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, Image
from mmkit.encoders.ahead import result_of
from mmkit.encoders.cut import Cut
from mmkit.errors import ImageError

BLANK = "blank"
"""The key of a blank item."""


def is_blank(key: str) -> bool:
    """Whether an item's key is `BLANK`, or `BLANK:...`, the key of a pair with a blank image."""
    return key.partition(":")[0] == BLANK


MissingPolicy: TypeAlias = Literal["error", "blank"]


@dataclass
class MissingImages:
    """How missing or broken images are treated; one object for each model, shared by all its encoders."""

    policy: MissingPolicy = "error"
    replaced: dict[str, str] = field(default_factory=dict)
    """Files that blank images replaced → why. Empty while the policy is "error"."""
    codes: dict[str, str] = field(default_factory=dict)
    """These files → the code of the error, except those that an encoder of an earlier version noted."""

    def excuse(self, error: ImageError) -> None:
        """Note an image that a blank one replaces. Raises `error` unless blank images are allowed."""
        if self.policy == "error":
            raise error
        self.replaced[error.where], self.codes[error.where] = error.what, error.code

    def add(self, others: MissingImages) -> None:
        """Note what other images were replaced."""
        self.replaced.update(others.replaced)
        self.codes.update(others.codes)

    def forget(self) -> None:
        """Begin again with no image replaced."""
        self.replaced.clear()
        self.codes.clear()


Raw = TypeVar("Raw")
Loaded = TypeVar("Loaded")


class ItemSource(ABC, Generic[Raw, Loaded]):
    """The items that an encoder reads: each record has items in a fixed number of slots.

    An item has a key, a hash of its content, so that equal items are encoded once. It is loaded on the CPU, and stacked
    with others for the network. Threads, several at a time, and loader workers call `items`, `load` and `stand_in`.
    A slot without an item is blank. Blank items go through the network like any other. With `drops_blanks` they are
    left out instead: a record's real items come first, then zeros.
    """

    drops_blanks: bool = False
    pictures: bool = False
    """Whether items are image files, which are checked before training if features are not stored."""

    @abstractmethod
    def items(self, x: Example | Entity, missing: MissingImages) -> list[tuple[str, Raw]]:
        """(key, raw) of each slot. Decodes nothing.

        Raises `ImageError` for an image that does not exist, unless `missing` allows a blank one instead.
        """

    @abstractmethod
    def identity(self, x: Example | Entity) -> Hashable:
        """Everything on which `items` depends; stored features are found by it in every epoch."""

    @abstractmethod
    def load(self, raw: Raw) -> Loaded:
        """One item, ready to be stacked. Raises `ImageError` for a broken image."""

    @abstractmethod
    def blank(self) -> Raw:
        """The blank raw item, whose key is `BLANK`."""

    @abstractmethod
    def stack(self, loaded: Sequence[Loaded]) -> Features:
        """Loaded items as inputs of the network: CPU tensors by name, `[N, ...]` each."""

    def stand_in(self, raw: Raw) -> tuple[str, Raw]:
        """(key, raw) of the item that replaces an item with a broken image."""
        return BLANK, self.blank()

    def cost(self, raw: Raw) -> int:
        """How much work an item is; items of similar cost are encoded together."""
        return 0

    def choice(self) -> Any:
        """Which of a record's items are used, as JSON; None if that depends on more than the record.

        With it, entity features are found without reading each entity again. Images must be read, because files change.
        """
        return None

    def chosen(self, x: Example | Entity) -> Sequence[Image] | None:
        """The images of a record that are read, in order; None where that is not known."""
        return None

    def describe(self) -> dict[str, Any]:
        """Settings of the source that decide the network's input, as JSON: a part of the encoder's fingerprint."""
        return {}

    def check_reads(self, kind: type[Example] | type[Entity]) -> None:
        """Raise `PartError` if such records have no such items."""

    def cut(self, x: Example) -> Cut | None:
        """The part of an example's texts that is not read because it is beyond the length limit; None: nothing."""
        return None

    def too_long(self, x: Example | Entity) -> bool:
        """Whether a text of a record is beyond the length limit."""
        return False

    # Derived methods

    def load_or_stand_in(self, key: str, raw: Raw, missing: MissingImages) -> tuple[Loaded, bool]:
        """A loaded item and whether it is real; a broken one is as `missing` says."""
        try:
            return self.load(raw), not is_blank(key)
        except ImageError as error:
            missing.excuse(error)
            return self.load(self.stand_in(raw)[1]), False

    def collate(self, records: Sequence[Example | Entity], missing: MissingImages) -> CollatedItems:
        """The loaded items of a batch of records."""
        loaded = [self._loaded(x, missing) for x in records]
        if self.drops_blanks:
            return self._collate_real([[item for item, real in slots if real] for slots in loaded])
        mask = torch.tensor([[real for _, real in slots] for slots in loaded])
        return CollatedItems(mask, loaded=self.stack([item for slots in loaded for item, _ in slots]))

    def to_load(
        self, records: Sequence[Example | Entity], missing: MissingImages
    ) -> dict[Hashable, Callable[[], Any]]:
        """Calls that threads may make before `collate` gets these records, which then uses what they loaded."""
        return {(id(self), id(x)): partial(self._outcome, x, missing.policy) for x in records}

    def _loaded(self, x: Example | Entity, missing: MissingImages) -> list[tuple[Loaded, bool]]:
        """The record's loaded items and whether they are real, from a thread that has loaded them already."""
        outcome: _Outcome[Loaded] | None = result_of((id(self), id(x)))
        return self._load(x, missing) if outcome is None else outcome.as_if_now(missing)

    def _load(self, x: Example | Entity, missing: MissingImages) -> list[tuple[Loaded, bool]]:
        items = self.items(x, missing)
        if self.drops_blanks:
            items = [item for item in items if item[0] != BLANK]
        return [self.load_or_stand_in(key, raw, missing) for key, raw in items]

    def _outcome(self, x: Example | Entity, policy: MissingPolicy) -> _Outcome[Loaded]:
        own = MissingImages(policy)
        try:
            return _Outcome(self._load(x, own), own)
        except Exception as error:  # it is raised when it is the record's turn
            return _Outcome([], own, error)

    def _collate_real(self, loaded: Sequence[Sequence[Loaded]]) -> CollatedItems:
        counts = torch.tensor([len(items) for items in loaded])
        mask = torch.arange(max(1, int(counts.max()))) < counts[:, None]
        rows = mask.long().flatten().cumsum(0).view(mask.shape) * mask
        blank = self.load(self.blank())  # row 0, so that the network also runs where nothing is real
        return CollatedItems(mask, rows, loaded=self.stack([blank, *(i for items in loaded for i in items)]))


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[Loaded]):
    """What came of loading a record's items in a thread."""

    slots: list[tuple[Loaded, bool]]
    missing: MissingImages
    error: Exception | None = None

    def as_if_now(self, missing: MissingImages) -> list[tuple[Loaded, bool]]:
        """The items, and what else loading them in this thread would have done."""
        missing.add(self.missing)
        if self.error is not None:
            raise self.error
        return self.slots


LOADED, STORED = "loaded.", "stored."
"""Prefixes of names of tensors in a batch's inputs: loaded items, and stored features."""


@dataclass(frozen=True, slots=True)
class CollatedItems:
    """A batch of B records as an `ItemEncoder` collates it, with n slots each.

    It contains `loaded` items for the network, or features that were `stored` on disk, or, with neither, rows of the
    store's table on the device.
    """

    mask: Tensor
    """`[B, n]`, False where an item is blank."""
    rows: Tensor | None = None
    """`[B, n]`, the row of each slot's item. None: each slot has its own row, in order."""
    positions: Tensor | None = None
    """`[B, n, L]`, rows of an item's ragged features in the table on the device, -1 beyond its own length."""
    loaded: Features = field(default_factory=dict)
    """`[N, ...]`. With dropped blanks, row 0 is a blank item."""
    stored: Features = field(default_factory=dict)
    """`[B, n, ...]`."""

    def tensors(self) -> Features:
        """As the inputs of a batch."""
        own = {"mask": self.mask, "rows": self.rows, "positions": self.positions}
        return {
            **{name: tensor for name, tensor in own.items() if tensor is not None},
            **{LOADED + name: tensor for name, tensor in self.loaded.items()},
            **{STORED + name: tensor for name, tensor in self.stored.items()},
        }

    @classmethod
    def of(cls, inputs: Features) -> Self:
        """From what `tensors` gave, on any device."""

        def under(prefix: str) -> Features:
            return {k.removeprefix(prefix): v for k, v in inputs.items() if k.startswith(prefix)}

        return cls(inputs["mask"], inputs.get("rows"), inputs.get("positions"), under(LOADED), under(STORED))

    def in_slots(self, features: Features) -> Features:
        """Features `[N, ...]` of the loaded items as `[B, n, ...]`; zeros where a dropped blank stood."""
        if self.rows is None:
            return {name: tensor.unflatten(0, self.mask.shape) for name, tensor in features.items()}
        rows = self.rows
        return {k: torch.cat([torch.zeros_like(v[:1]), v[1:]])[rows] for k, v in features.items()}
