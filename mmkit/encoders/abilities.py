"""What some encoders can do beside giving features: protocols that a fuser may ask for.

A fuser that needs one says so in `requires`; it is checked with `isinstance` when the model is assembled. An encoder
has an ability by having its members. It names features only in `provides`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from mmkit.batch import Features

Prefix: TypeAlias = Sequence[tuple[Tensor, Tensor]]
"""A key and a value for each layer, both `[B, heads, P, head_dim]`."""


@runtime_checkable
class TakesPrefix(Protocol):
    """A text encoder whose layers attend to keys and values that come from outside (prefix attention)."""

    def prefix_shape(self) -> list[tuple[int, int]]:
        """(heads, head_dim) of each layer's prefix. Raises `PartError` if the loaded model cannot use one."""
        ...

    def __call__(self, inputs: dict[str, Tensor], prefix: Prefix | None = None) -> Features:
        """Features of a collated batch; `prefix` is put before each layer's own keys and values."""
        ...


@runtime_checkable
class ReadsViews(Protocol):
    """A text encoder that can collate further views of an example (see `mmkit.batch.of_view`)."""

    extra_views: tuple[str, ...]
    """The views that it collates beside its main one: those that the recipe names."""


@runtime_checkable
class GivesGrid(Protocol):
    """An encoder of pictures that gives their feature maps, pooled to a square: `grid [B, n, C, g, g]`."""

    grid: int
    """The side g of the square."""


@runtime_checkable
class GivesScores(Protocol):
    """An encoder that gives a decoder's scores of labels beside `pooled`: a trained run.

    Its features are then `emissions [B, 1, W, K]` with `lengths [B, 1]`, or `logits [B, 1, R]`.
    """

    def scoring_decoder(self) -> nn.Module:
        """The decoder that gives the scores (a `mmkit.decoders.base.Decoder`): it knows the labels. After `build`."""
        ...


OLD_NAMES: Mapping[str, type] = {"prefix": TakesPrefix, "scores": GivesScores}
"""Words for abilities that `Fuser.requires` and `Encoder.provides` once held among the names of features.

`view:NAME` stood for `ReadsViews` with that view.
"""
