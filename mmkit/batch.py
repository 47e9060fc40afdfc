"""The data that stations exchange in training: features, batches and states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor

from mmkit.data.types import Example

Features: TypeAlias = dict[str, Tensor]
"""Named tensors, batch first. Names with a fixed meaning (B examples, T subwords, W words, n items, D wide):

`tokens [B, T, D]`        states of a text's subwords
`pooled [B, D]`           of a view; `[B, n, D]` of items: images, plain texts
`mask [B, T]`, `[B, n]`   bool, True where a subword or an item is real
`grid [B, n, C, g, g]`    pooled feature maps of images
"""


def of_view(inputs: Mapping[str, Tensor], view: str) -> Features:
    """A text encoder's inputs for one of its `extra_views`, under the same names as those of the main view."""
    prefix = f"{view}:"
    return {k.removeprefix(prefix): v for k, v in inputs.items() if k.startswith(prefix)}


@dataclass
class Batch:
    """Examples collated for every encoder and for the decoder.

    `inputs[encoder]` is what that encoder's `collate` gave, `targets` what the decoder's `targets` gave
    (empty when predicting). A text encoder's inputs hold, beside the tokenizer's:
    `word_index [B, T]` token of the example each subword belongs to (-1 none), `first_subword [B, W]` position of
    each token's first subword (-1 cut off or padding), `marker_index [B, M]` position of each marker (-1 cut off).
    Names of a further view begin with the view's name (see `of_view`).
    """

    examples: tuple[Example, ...]
    inputs: dict[str, Features]
    targets: Features = field(default_factory=dict)
    inspecting: bool = False
    """Whether parts should also give the states that their `inspect` shows (`mmkit.inspection.Inspects`)."""

    def __len__(self) -> int:
        return len(self.examples)

    def to(self, device: torch.device | str) -> Batch:
        """The batch with all tensors on `device`; copies from pinned memory do not block."""

        def move(tensors: Features) -> Features:
            return {k: v.to(device, non_blocking=True) for k, v in tensors.items()}

        inputs = {k: move(v) for k, v in self.inputs.items()}
        return replace(self, inputs=inputs, targets=move(self.targets))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory (torch's `DataLoader` calls this)."""
        inputs = {k: {n: t.pin_memory() for n, t in v.items()} for k, v in self.inputs.items()}
        return replace(self, inputs=inputs, targets={k: v.pin_memory() for k, v in self.targets.items()})


@dataclass
class States:
    """What a fuser gives to the decoder: named tensors, and its own losses (weighted in the recipe by name).

    Names with a fixed meaning: `tokens [B, T, D]`, `mask [B, T]`, `word_index [B, T]`, `first_subword [B, W]`,
    `marker_index [B, M]`, `pooled [B, D]`, `query [B, D]` (what an entity's features are compared with).
    """

    tensors: Features
    losses: dict[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    @classmethod
    def of_text(cls, features: Mapping[str, Tensor], inputs: Mapping[str, Tensor], **more: Tensor) -> States:
        """States of a text encoder: its features beside the alignment its inputs carry, and `more`."""
        alignment = {k: inputs[k] for k in ("word_index", "first_subword", "marker_index") if k in inputs}
        return cls({**features, **alignment, **more})
