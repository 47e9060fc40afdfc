"""What some encoders can do besides giving features: protocols that a fuser may ask for.

A fuser that needs an ability says so in `requires`; it is checked with `isinstance` when the model is assembled. An
encoder has an ability if it has the protocol's members. `provides` contains only names of features.
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
    """A text encoder whose layers attend to additional keys and values (prefix attention)."""

    def prefix_shape(self) -> list[tuple[int, int]]:
        """(heads, head_dim) of each layer's prefix. Raises `PartError` if the loaded model cannot use one."""
        ...

    def __call__(self, inputs: dict[str, Tensor], prefix: Prefix | None = None) -> Features:
        """Features of a collated batch; `prefix` comes before each layer's own keys and values."""
        ...


@runtime_checkable
class ReadsViews(Protocol):
    """A text encoder that can collate further views of an example (see `mmkit.batch.of_view`)."""

    extra_views: tuple[str, ...]
    """The views that it collates in addition to its main one: those that the recipe names."""


@runtime_checkable
class GivesGrid(Protocol):
    """An image encoder that gives feature maps, pooled to a square: `grid [B, n, C, g, g]`."""

    grid: int
    """The side g of the square."""


@runtime_checkable
class GivesScores(Protocol):
    """An encoder that gives a decoder's scores of labels in addition to `pooled`: a trained run.

    Its features are then `emissions [B, 1, W, K]` with `lengths [B, 1]`, or `logits [B, 1, R]`.
    """

    def scoring_decoder(self) -> nn.Module:
        """The decoder that gives the scores (a `mmkit.decoders.base.Decoder`): it knows the labels. After `build`."""
        ...


OLD_NAMES: Mapping[str, type] = {"prefix": TakesPrefix, "scores": GivesScores}
"""Words for abilities that were once allowed among the names of features in `Fuser.requires` and `Encoder.provides`.

`view:NAME` meant `ReadsViews` with that view.
"""
