"""Station 3, the encoder: text or pictures become features."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, TextView
from mmkit.encoders.sharing import weights_hash
from mmkit.errors import ImageError
from mmkit.ops.precision import full_float32

if TYPE_CHECKING:
    from mmkit.encoders.stored import StoredFeatures

BLANK = "blank"
"""The key of an item that stands for nothing."""

MissingImages = Literal["error", "blank"]


def is_blank(key: str) -> bool:
    """Whether an item's key is `BLANK`, or `BLANK:...`: that of a pair whose picture stands for nothing."""
    return key.partition(":")[0] == BLANK


class Encoder(nn.Module, ABC):
    """Turns examples into features. The constructor takes hyperparameters and touches no disk or network.

    `build` makes the network; after it, `dim` is the width of the main feature. `provides` names the features
    `forward` returns, and abilities such as `prefix` that a fuser may ask for.
    """

    provides: frozenset[str] = frozenset()
    frozen: bool = False
    dim: int = 0
    is_run: ClassVar[bool] = False
    """Whether it is a trained run: its setting `run` names the folder, and `recipe` the recipe that trains one."""
    reads_pictures: bool = False
    """Whether an example's pictures have to be there; where features are not stored, they are looked at first."""

    @abstractmethod
    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Make the network from its pretrained weights or, given `saved`, from what `save` wrote there.

        With `saved` nothing is fetched and weights are left as initialised (the run's own are loaded after).
        Raises `PartError` if the weights cannot be had.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write configuration and tokenizer, no weights, so that `build(saved=folder)` works offline."""

    @abstractmethod
    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        """CPU tensors of a batch, made in a loader worker; `views[i]` are the decoder's of `examples[i]`."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Features of a collated batch that is already on this module's device."""

    def check_reads(self, kind: type[Example] | type[Entity]) -> None:
        """Raise `PartError` if such records have nothing of what this encoder is set to read."""

    def check_there(self) -> None:
        """Raise `MMKitError` if what it builds on is not on this machine (a trained run, say). Loads nothing."""

    def length(self, example: Example, views: Mapping[str, TextView]) -> int:
        """What an example costs this encoder, in subwords; batches are bucketed by it. 0: no matter."""
        return 0

    def train(self, mode: bool = True) -> Self:
        """As torch's, but a frozen encoder stays in evaluation mode (dropout, batch-norm statistics)."""
        return super().train(mode and not self.frozen)

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny stand-in for the pretrained backbone to `folder`; return constructor overrides."""
        return {}


class ItemEncoder(Encoder):
    """An encoder of separate items (pictures, mostly) whose outputs can be stored once when it is frozen.

    An example has a fixed number of slots; features come out as `[B, slots, ...]`, beside `mask [B, slots]`,
    False where an item is blank. Subclasses say which items an example has, how one is loaded on the CPU, and
    what the network makes of a stack of them. Blank items go through the network like any other or, where
    `drops_blanks` says so, are left out: an example's real items come first, zeros follow, and `slots` is the
    most real ones in the batch (at least 1).

    Features of a frozen encoder are a pure function of the item: computed in float32 in evaluation mode,
    whatever the autocast around, and rounded to `feature_dtype`. `mmkit.encoders.store.prepare` computes them
    once and attaches them as `stored`; from then on `collate` decodes nothing for the examples it was given,
    and other examples are still computed. Attached features are no part of the state dict.

    A feature named in `ragged` is `[N, L, ...]`, zero beyond an item's own length, and `network` then also
    gives `lengths [N]`.
    """

    missing_images: MissingImages = "error"
    store: bool = True
    reads_items: bool = True
    """False where an encoder is set to read a view of the text instead."""
    version: ClassVar[str] = ""
    ragged: frozenset[str] = frozenset()
    drops_blanks: ClassVar[bool] = False

    def __init__(self, feature_dtype: Literal["float32", "float16"] = "float32") -> None:
        super().__init__()
        self.feature_dtype = feature_dtype
        self.stored: StoredFeatures | None = None
        self.replaced: dict[str, str] = {}
        """What a blank stood in for, and why; filled while `missing_images` is "blank"."""

    # What a subclass says

    @abstractmethod
    def items(self, x: Example | Entity) -> list[tuple[str, Any]]:
        """(key, raw) of each slot; the key is a hash of the content, so equal pictures are encoded once.

        Raises `ImageError` for a picture that does not exist, unless `missing_images` is "blank". Decodes
        nothing.
        """

    @abstractmethod
    def load(self, raw: Any) -> Tensor:
        """One item as the network's input. Raises `ImageError` for a broken picture."""

    @abstractmethod
    def blank(self) -> Any:
        """The raw item, with key `BLANK`, that stands for nothing."""

    def stand_in(self, raw: Any) -> tuple[str, Any]:
        """(key, raw) of what takes the place of an item whose picture is broken."""
        return BLANK, self.blank()

    def stacked(self, loaded: Sequence[Any]) -> Any:
        """Loaded items as `encode` takes them: a tensor, or several by name."""
        return torch.stack(list(loaded))

    @abstractmethod
    def network(self, stack: Tensor) -> Features:
        """Features of stacked items, `[N, ...]` each: already reduced to what a fuser needs."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Everything beside the weights that decides `network(load(raw))`, as JSON."""

    def identity(self, x: Example | Entity) -> Hashable:
        """What `items(x)` depends on; stored features are looked up by it in every epoch."""
        return x.images

    def choice(self) -> Any:
        """Which of a record's items are taken, as JSON; None if that does not follow from the record alone.

        Entity features are found by it without looking at each entity again; pictures have to be looked at, for
        files change.
        """
        return None

    def cost(self, raw: Any) -> int:
        """How much work a raw item is; items of like cost are encoded together."""
        return 0

    def trimmed(self, stack: Tensor) -> Tensor:
        """What the network needs of stacked items on the CPU: texts without what pads all of them, say."""
        return stack

    # What follows from it

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def fingerprint(self) -> str:
        """A hash over weights, preprocessing, part version and dtype: equal means equal outputs."""
        described = {"version": self.version, "dtype": self.feature_dtype, **self.describe()}
        text = json.dumps(described, sort_keys=True) + weights_hash(self)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def load_or_blank(self, key: str, raw: Any) -> tuple[Tensor, bool]:
        """A loaded item and whether it is real; a broken one is as `missing_images` says."""
        try:
            return self.load(raw), not is_blank(key)
        except ImageError as error:
            if self.missing_images == "error":
                raise
            self.replaced[error.where] = error.what
            return self.load(self.stand_in(raw)[1]), False

    def encode(self, stack: Any) -> Features:
        """Features of stacked items on any device, as they are stored: `[N, ...]`, in `feature_dtype`."""
        if isinstance(stack, Tensor):
            stack = self.trimmed(stack) if stack.device.type == "cpu" else stack
            stack = stack.to(self.device, non_blocking=True)
        else:
            stack = {name: tensor.to(self.device, non_blocking=True) for name, tensor in stack.items()}
        with torch.no_grad(), full_float32(self.device):
            return self.rounded(self.network(stack))

    def rounded(self, features: Features) -> Features:
        """Features in the precision they are stored in."""
        dtype = getattr(torch, self.feature_dtype)
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in features.items()}

    def encode_blank(self, raw: Any) -> Features:
        """What stands for a blank item `[1, ...]`: its features, or zeros if blanks are dropped."""
        features = self.encode(self.stacked([self.load(raw)]))
        return {k: torch.zeros_like(v) for k, v in features.items()} if self.drops_blanks else features

    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        """Where stored features of the examples are (see `StoredFeatures.collate`), or their loaded items.

        Loaded: `items [B, slots, ...]` and `mask [B, slots]`. With blanks dropped, `items [N, ...]`, the first a
        blank one, `at [B, slots]`, the item in each slot, and `mask`.
        """
        if (found := self.from_store(examples)) is not None:
            return found
        if self.drops_blanks:
            return self._collate_real([self._real(x) for x in examples])
        loaded = [[self.load_or_blank(key, raw) for key, raw in self.items(x)] for x in examples]
        return {
            "items": torch.stack([torch.stack([item for item, _ in slots]) for slots in loaded]),
            "mask": torch.tensor([[real for _, real in slots] for slots in loaded]),
        }

    def from_store(self, examples: Sequence[Example | Entity]) -> dict[str, Tensor] | None:
        """Where stored features of the examples are (see `StoredFeatures.collate`); None if one is not stored."""
        return None if self.stored is None else self.stored.collate([self.identity(x) for x in examples])

    def _real(self, x: Example | Entity) -> list[Tensor]:
        loaded = (self.load_or_blank(key, raw) for key, raw in self.items(x) if key != BLANK)
        return [item for item, real in loaded if real]

    def _collate_real(self, loaded: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
        counts = torch.tensor([len(items) for items in loaded])
        mask = torch.arange(max(1, int(counts.max()))) < counts[:, None]
        stack = torch.stack([self.load(self.blank()), *(item for items in loaded for item in items)])
        at = mask.long().flatten().cumsum(0).view(mask.shape) * mask
        return {"items": self.trimmed(stack), "at": at, "mask": mask}

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Features `[B, slots, ...]` and `mask [B, slots]`, from the store or computed."""
        if "items" not in inputs:
            if self.stored is None:
                raise RuntimeError("the inputs name stored features, but none are attached")
            features = self.stored.gather(inputs)
        elif "at" in inputs:
            made = self._compute(inputs["items"])
            features = {k: torch.cat([torch.zeros_like(v[:1]), v[1:]])[inputs["at"]] for k, v in made.items()}
        else:
            stack = inputs["items"]
            made = self._compute(stack.flatten(0, 1))
            features = {k: v.unflatten(0, stack.shape[:2]) for k, v in made.items()}
        floats = {k: v.float() if v.dtype == torch.float16 else v for k, v in features.items()}
        return {**floats, "mask": inputs["mask"]}

    def _compute(self, stack: Tensor) -> Features:
        return self.encode(stack) if self.frozen else self.network(stack)
