"""Station 3, the encoder: text or pictures become features."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, TextView
from mmkit.errors import ImageError

if TYPE_CHECKING:
    from mmkit.encoders.stored import StoredFeatures

BLANK = "blank"
"""The key of an item that stands for nothing."""

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

    def length(self, view: Mapping[str, TextView]) -> int:
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
    what the network makes of a stack of them.

    Features of a frozen encoder are a pure function of the item: computed in float32 in evaluation mode,
    whatever the autocast around, and rounded to `feature_dtype`. `mmkit.encoders.store.prepare` computes them
    once and attaches them as `stored`; from then on `collate` decodes nothing for the examples it was given,
    and other examples are still computed. Attached features are no part of the state dict.

    A feature named in `ragged` is `[N, L, ...]`, zero beyond an item's own length, and `network` then also
    gives `lengths [N]`.
    """

    missing_images: MissingImages = "error"
    store: bool = True
    version: ClassVar[str] = ""
    ragged: ClassVar[frozenset[str]] = frozenset()

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

    @abstractmethod
    def network(self, stack: Tensor) -> Features:
        """Features of stacked items, `[N, ...]` each: already reduced to what a fuser needs."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Everything beside the weights that decides `network(load(raw))`, as JSON."""

    def identity(self, x: Example | Entity) -> Hashable:
        """What `items(x)` depends on; stored features are looked up by it in every epoch."""
        return x.images

    # What follows from it

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def fingerprint(self) -> str:
        """A hash over weights, preprocessing, part version and dtype: equal means equal outputs."""
        digest = hashlib.blake2b(digest_size=16)
        described = {"version": self.version, "dtype": self.feature_dtype, **self.describe()}
        digest.update(json.dumps(described, sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def load_or_blank(self, key: str, raw: Any) -> tuple[Tensor, bool]:
        """A loaded item and whether it is real; a broken one is as `missing_images` says."""
        try:
            return self.load(raw), key != BLANK
        except ImageError as error:
            if self.missing_images == "error":
                raise
            self.replaced[error.where] = error.what
            return self.load(self.blank()), False

    def encode(self, stack: Tensor) -> Features:
        """Features of stacked items on any device, as they are stored: `[N, ...]`, in `feature_dtype`."""
        with torch.no_grad(), _exact(self.device):
            features = self.network(stack.to(self.device, non_blocking=True))
        dtype = getattr(torch, self.feature_dtype)
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in features.items()}

    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        """Where stored features of the examples are (see `StoredFeatures.collate`), or their loaded items.

        Loaded: `items [B, slots, ...]` and `mask [B, slots]`.
        """
        if self.stored is not None:
            found = self.stored.collate([self.identity(x) for x in examples])
            if found is not None:
                return found
        loaded = [[self.load_or_blank(key, raw) for key, raw in self.items(x)] for x in examples]
        return {
            "items": torch.stack([torch.stack([item for item, _ in slots]) for slots in loaded]),
            "mask": torch.tensor([[real for _, real in slots] for slots in loaded]),
        }

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Features `[B, slots, ...]` and `mask [B, slots]`, from the store or computed."""
        if "items" not in inputs:
            if self.stored is None:
                raise RuntimeError("the inputs name stored features, but none are attached")
            features = self.stored.gather(inputs)
        else:
            stack = inputs["items"]
            run = self.encode if self.frozen else self.network
            features = {k: v.unflatten(0, stack.shape[:2]) for k, v in run(stack.flatten(0, 1)).items()}
        floats = {k: v.float() if v.dtype == torch.float16 else v for k, v in features.items()}
        return {**floats, "mask": inputs["mask"]}


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """float32 arithmetic in full: no autocast, and on NVIDIA GPUs no TF32 in convolutions and products."""
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
