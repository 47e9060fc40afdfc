"""The hierarchical visual prefix: images as extra keys and values in every layer of the text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.batch import Batch, States
from mmkit.encoders.abilities import GivesGrid, TakesPrefix
from mmkit.encoders.base import Encoder
from mmkit.errors import PartError
from mmkit.fusers.base import Fuser
from mmkit.fusers.needs import Needs
from mmkit.inspection import Inspection, tables


class VisualPrefix(Fuser):
    """Prepends images to the keys and values of each self-attention layer of the text encoder (HVPNeT).

    Chen et al., NAACL Findings 2022, arXiv 2205.03521. An image's pyramid, pooled to a `g × g` grid,
    becomes `g²` visual tokens; an MLP turns each into `blocks` key-value pairs, and a gate of each text layer
    mixes the blocks into that layer's prefix. Works with any text encoder that takes a prefix and any encoder
    that gives a `grid`. Tensors are laid out as in the authors' code, so that their checkpoints load.

    Args:
        text: the text encoder's name in the recipe.
        vision: the image encoder's name in the recipe.
        hidden: width of the MLP's hidden layer.
        blocks: number of key-value pairs that a visual token offers to the gates (in the paper: one for each level of
            the pyramid).
    """

    captures = True
    provides: frozenset[str] = frozenset({"tokens", "mask", "word_index", "first_subword", "marker_index"})

    def __init__(
        self, text: str = "text", vision: str = "vision", hidden: int = 800, blocks: int = 4
    ) -> None:
        super().__init__()
        self.text, self.vision = text, vision
        self.hidden, self.blocks = hidden, blocks
        self.heads = 0

    def requires(self) -> dict[str, Needs]:
        return {
            self.text: Needs(frozenset({"tokens", "mask"}), (TakesPrefix,)),
            self.vision: Needs(frozenset({"grid"}), (GivesGrid,)),
        }

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        """Make the MLP and the gates for the encoders' widths.

        Raises `PartError` if the text encoder's layers differ in width: one MLP output serves all of them.
        """
        text, vision = encoders[self.text], encoders[self.vision]
        shapes = cast(TakesPrefix, text).prefix_shape()  # as `requires` says
        side = cast(GivesGrid, vision).grid
        if len(set(shapes)) != 1:
            raise PartError(
                f"encoder {self.text!r} has layers of different widths (heads, width of a head): {shapes}",
                where="hvpnet.visual_prefix.v1",
                hint="the visual prefix needs a text encoder whose layers all have the same attention heads",
                code="hvpnet.layer-widths",
            )
        self.heads, head_dim = shapes[0]
        pair = 2 * self.heads * head_dim
        self.project = nn.Sequential(
            nn.Linear(vision.dim, self.hidden), nn.Tanh(), nn.Linear(self.hidden, self.blocks * pair)
        )
        self.gates = nn.Linear(side**2 * pair, len(shapes) * self.blocks)
        self.dims = {"tokens": text.dim}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        vision = encoders[self.vision](batch.inputs[self.vision])
        inputs = batch.inputs[self.text]
        offers = self.offer(vision["grid"])
        gates = self.weights(offers)
        features = encoders[self.text](inputs, prefix=self.mix(offers, gates))
        shown = {}
        if batch.inspecting:
            real = vision.get("mask", torch.ones(gates.shape[:2], dtype=torch.bool, device=gates.device))
            shown = {"gates": gates, "images": real}
        return States.of_text(features, inputs, **shown)

    def inspect(self, states: States, batch: Batch) -> list[Inspection]:
        """The gates of each layer over the blocks, for each image ("Dynamic Gated Aggregation" in the paper).

        Of an example without an image, those of the first blank image. Each row sums to 1.
        """
        layers = [f"layer {i + 1}" for i in range(states["gates"].shape[2])]
        blocks = [f"block {i + 1}" for i in range(self.blocks)]
        by_image = [tables(gates, layers, blocks) for gates in states["gates"].unbind(1)]
        return [
            {
                f"gates, image {i + 1}": by_image[i][place]
                for i, real in enumerate(row)
                if real or (i == 0 and not any(row))
            }
            for place, row in enumerate(states["images"].tolist())
        ]

    def prefix(self, grid: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values for each text layer ("Visual Prefix-guided Fusion" in the paper).

        Takes images pooled to `grid [B, n, C, g, g]`; returns a (key, value) for each layer, each
        `[B, heads, n·g², head_dim]`.
        """
        offers = self.offer(grid)
        return self.mix(offers, self.weights(offers))

    def mix(self, offers: Tensor, gates: Tensor) -> list[tuple[Tensor, Tensor]]:
        """`prefix`, of what `offer` and `weights` give."""
        # each layer's own mixture of the blocks, for all images: [layers, B, n·g², 2·width]
        layers = torch.einsum("bnlk,bnpkw->lbnpw", gates, offers).flatten(2, 3)
        keys, values = layers.chunk(2, dim=-1)
        return list(zip(self._split_heads(keys), self._split_heads(values), strict=True))

    def offer(self, grid: Tensor) -> Tensor:
        """The key-value pairs that each visual token offers: `[B, n, C, g, g]` → `[B, n, g², blocks, 2·width]`."""
        batch, pictures, channels, side, _ = grid.shape
        # Reshaped without transposing, as the authors do: a visual token is a run of C numbers of the
        # channel-first grid, so it holds all g² cells of C/g² neighbouring channels.
        tokens = grid.reshape(batch, pictures, side * side, channels)
        projected: Tensor = self.project(tokens).unflatten(-1, (self.blocks, -1))
        return projected

    def weights(self, offers: Tensor) -> Tensor:
        """How much of each block a layer takes, for each image ("Dynamic Gated Aggregation" in the paper).

        `[B, n, g², blocks, 2·width]` → `[B, n, layers, blocks]`, whose rows sum to 1. The gates of all layers and
        images are one matrix product.
        """
        scores = self.gates(offers.mean(dim=3).flatten(2))  # [B, n, layers·blocks]
        weights: Tensor = F.leaky_relu(scores).unflatten(-1, (-1, self.blocks)).softmax(-1)
        return weights

    def _split_heads(self, half: Tensor) -> tuple[Tensor, ...]:
        """`[layers, B, n·g², width]` → for each layer `[B, heads, n·g², head_dim]`.

        Again without transposing: a head sees consecutive positions of the prefix, not consecutive channels.
        """
        layers, batch, length, _ = half.shape
        return half.reshape(layers, batch, self.heads, length, -1).unbind()
