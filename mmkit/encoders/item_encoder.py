"""Encoders of separate items: a source, a network, and features that are stored once if it is frozen."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, Image, TextView
from mmkit.encoders.base import Encoder
from mmkit.encoders.cut import Cut
from mmkit.encoders.items import CollatedItems, ItemSource, MissingImages
from mmkit.encoders.sharing import weights_hash
from mmkit.encoders.stored import StoredFeatures
from mmkit.ops.precision import Precision, only


class ItemEncoder(Encoder):
    """An encoder of separate items (images, texts), whose outputs are stored once if it is frozen.

    It has a `source`, which says what items a record has and loads them, and a `network`, which makes features of a
    stack of them. It gives features `[B, slots, ...]` and `mask [B, slots]`, False where an item is blank. If the
    source drops blanks, `slots` is the largest number of real items of a record in the batch, at least 1.

    Features of a frozen encoder are a pure function of the item: computed in `feature_precision` in evaluation mode,
    whatever the precision of the rest of the model, and rounded to `feature_dtype`. `mmkit.encoders.store.prepare`
    computes them once and attaches them as `stored`. From then on, `collate` opens no file for these records; features
    of others are still computed. Attached features are not part of the state dict.

    A subclass passes its source to the constructor, completes it in `build`, and implements `network`, `describe`,
    `build` and `save`.
    """

    version: ClassVar[str] = ""
    """The part's name; if its features change, the part must become a new version."""
    ragged: frozenset[str] = frozenset()
    """Features `[N, L, ...]` that are zero beyond an item's own length; `network` then also gives `lengths [N]`."""

    def __init__(
        self,
        source: ItemSource[Any, Any],
        *,
        frozen: bool = True,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
        feature_precision: Precision = "fp32",
    ) -> None:
        super().__init__()
        self.source, self.frozen, self.store, self.feature_dtype = source, frozen, store, feature_dtype
        self.feature_precision: Precision = feature_precision
        self.missing = MissingImages()
        """The model's object, once the model is assembled."""
        self.stored: StoredFeatures | None = None

    @abstractmethod
    def network(self, items: Features) -> Features:
        """Features of stacked items, `[N, ...]` each: already reduced to what a fuser needs."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Everything except weights and source that decides the features of `network`, as JSON."""

    @property
    def device(self) -> torch.device | None:
        """The device of the weights; None if there are none."""
        return next((parameter.device for parameter in self.parameters()), None)

    def fingerprint(self) -> str:
        """A hash over weights, preprocessing, part version, dtype and precision: equal means equal outputs.

        In bf16 and TF32, outputs are equal up to rounding, which depends on the device and on the other items of a
        stack.
        """
        described = {"version": self.version, "dtype": self.feature_dtype}
        if self.feature_precision != "fp32":  # not named before there were others
            described["precision"] = self.feature_precision
        described |= self.source.describe() | self.describe()
        text = json.dumps(described, sort_keys=True) + weights_hash(self)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def check_reads(self, kind: type[Example] | type[Entity]) -> None:
        self.source.check_reads(kind)

    @property
    def reads_pictures(self) -> bool:
        return self.source.pictures

    def cut(self, example: Example, views: Mapping[str, TextView]) -> Cut | None:
        return self.source.cut(example)

    def build_tokenizer(self, special_tokens: Sequence[str] = ()) -> bool:
        return type(self.source).cut is ItemSource.cut

    def pictures_read(self, example: Example | Entity) -> Sequence[Image] | None:
        if not self.source.pictures:
            return ()
        chosen = self.source.chosen(example)
        return None if chosen is None else [image for image in chosen if image.path is not None]

    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        """The positions of the examples' stored features, or their loaded items: `CollatedItems` as tensors."""
        found = None
        if self.stored is not None:
            found = self.stored.collate([self.source.identity(x) for x in examples])
        return (found or self.source.collate(examples, self.missing)).tensors()

    def to_load(self, examples: Sequence[Example | Entity]) -> dict[Hashable, Callable[[], Any]]:
        """Calls that threads may make before `collate` gets these examples: those that open images.

        There are none if the encoder reads no images, or if the features of all examples are stored.
        """
        if not self.source.pictures:
            return {}
        if self.stored is not None and all(self.source.identity(x) in self.stored for x in examples):
            return {}
        return self.source.to_load(examples, self.missing)

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Features `[B, slots, ...]` and `mask [B, slots]`, from the store or computed."""
        batch = CollatedItems.of(inputs)
        if batch.loaded:
            made = self.encode(batch.loaded) if self.frozen else self.compute(batch.loaded)
            features = batch.in_slots(made)
        elif self.stored is not None:
            features = self.stored.gather(batch)
        else:
            raise RuntimeError("the inputs name stored features, but none are attached")
        floats = {k: v.float() if v.dtype == torch.float16 else v for k, v in features.items()}
        return {**floats, "mask": batch.mask}

    def encode(self, items: Features) -> Features:
        """Features of stacked items on any device, as they are stored: `[N, ...]`, in `feature_dtype`."""
        device, dtype = self.device, getattr(torch, self.feature_dtype)
        if device is not None:
            items = {name: tensor.to(device, non_blocking=True) for name, tensor in items.items()}
        with torch.no_grad(), only(device or torch.device("cpu"), self.feature_precision):
            features = self.compute(items)
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in features.items()}

    def compute(self, items: Features) -> Features:
        """Features of stacked items on the encoder's device, with gradients."""
        return self.network(items)
