"""The dual-way enhanced query: a mention refined by the parts of its photo and by its sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmkit.batch import Batch, Features, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.attention import VectorAttention, never_empty
from mmkit.fusers.base import Fuser
from mmkit.fusers.pooled import projected, shared_width, total, vectors
from mmkit.fusers.projection import Projection, QueryHead, xavier_uniform_
from mmkit.inspection import Inspection, Table
from mmkit.ops.losses import clip_loss

START_SCALE = math.log(1 / 0.07)
"""The logarithm of the scale of both CLIP losses before training."""


class Fused(NamedTuple):
    """A batch's query `[B, dim]`, and the pairs `[B, hidden]` that the losses `coarse` and `fine` align."""

    query: Tensor
    coarse: tuple[Tensor, Tensor]
    fine: tuple[Tensor, Tensor]


class DualWay(Fuser):
    """Refines the mention by the parts of its photo and by its sentence, through one shared attention (DWE).

    Song et al., AAAI 2024, arXiv 2312.11816, as in the released code. With m, x, v and p the projected mention,
    sentence, photo and parts (texts share one projection, images another) and A one multi-head attention,

        query = Linear(dropout(m + A(m, p, p) + A(m, x, x))).

    Two losses align images and text, with one learned scale: `coarse`, the CLIP loss of v and x, and `fine`, that of
    A(m, p, p) and A(m, x, x). Absent inputs are zero vectors, which are projected like any other; the photos of an
    example are summed.

    Args:
        mention, text, photo, parts: names of the encoders in the recipe.
        profile: the encoder of attribute profiles. The released code encodes them and does not use them; here a
            separate attention of the mention over them is added to A(m, p, p).
        hidden: width of the projections and of the attention.
        dim: width of the query, which must be that of the entities' features; None: the mention encoder's.
        heads: attention heads.
        dropout: after each projection and before the last layer.
        mask_parts: whether attention ignores padding, where an example has fewer parts than another of its batch; the
            released code attends to it, as zero vectors.
    """

    provides: frozenset[str] = frozenset({"query"})

    def __init__(
        self,
        mention: str = "mention",
        text: str = "text",
        photo: str = "photo",
        parts: str = "parts",
        profile: str | None = None,
        hidden: int = 512,
        dim: int | None = None,
        heads: int = 8,
        dropout: float = 0.4,
        mask_parts: bool = True,
    ) -> None:
        super().__init__()
        self.mention, self.text, self.photo, self.parts, self.profile = mention, text, photo, parts, profile
        self.hidden, self.dim, self.heads = hidden, dim, heads
        self.dropout, self.mask_parts = dropout, mask_parts

    def requires(self) -> dict[str, frozenset[str]]:
        names = [self.mention, self.text, self.photo, self.parts, *([self.profile] if self.profile else [])]
        return {name: frozenset({"pooled", "mask"}) for name in names}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        """Make the layers. Raises `PartError` if texts, or images, differ in width, or heads do not fit."""
        texts = [self.mention, self.text, *([self.profile] if self.profile else [])]
        text_width = shared_width(encoders, texts, "dwe.dual_way.v1")
        image_width = shared_width(encoders, [self.photo, self.parts], "dwe.dual_way.v1")
        dim = self.dim or encoders[self.mention].dim
        self.project_text = Projection(text_width, self.hidden, self.dropout)
        self.project_image = Projection(image_width, self.hidden, self.dropout)
        self.enhance = VectorAttention(self.hidden, self.heads)
        self.enhance_profile = VectorAttention(self.hidden, self.heads) if self.profile else None
        self.head = QueryHead(self.hidden, dim, self.dropout)
        self.log_scale = nn.Parameter(torch.tensor(START_SCALE))
        self.dims = {"query": dim}
        xavier_uniform_(self)

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        features = {name: encoders[name](batch.inputs[name]) for name in self.requires()}
        fused = self.fuse(
            features[self.mention],
            features[self.text],
            features[self.photo],
            features[self.parts],
            features[self.profile] if self.profile else None,
        )
        shown: Features = {}
        if batch.inspecting:
            m = self.project_text(total(features[self.mention]))
            pieces, real = vectors(features[self.parts])
            weights = self.enhance.weights(m, self.project_image(pieces), real if self.mask_parts else None)
            shown = {"attention": weights, "parts": real}
        losses = {}
        if batch.targets:  # none in prediction; in the CLIP loss all processes would wait for each other
            losses = {
                "coarse": clip_loss(*fused.coarse, self.log_scale),
                "fine": clip_loss(*fused.fine, self.log_scale),
            }
        return States({"query": fused.query, **shown}, losses)

    def inspect(self, states: States, batch: Batch) -> list[Inspection]:
        """How much each head of A(m, p, p) attends to each part of the photo; a row sums to 1.

        Zero vectors are shown if they are attended to: all that there is without parts, and padding unless
        `mask_parts`.
        """
        heads = [f"head {i + 1}" for i in range(self.heads)]
        found: list[Inspection] = []
        for weights, real in zip(states["attention"].tolist(), states["parts"].tolist(), strict=True):
            shown = [i for i, there in enumerate(real) if there or not self.mask_parts] or [0]
            names = [f"part {i + 1}" if real[i] else f"nothing ({i + 1})" for i in shown]
            values = [[head[i] for i in shown] for head in weights]
            found.append({"attention over parts": Table(heads, names, values)})
        return found

    def fuse(
        self,
        mention: Features,
        text: Features,
        photo: Features,
        parts: Features,
        profile: Features | None = None,
    ) -> Fused:
        """The query, and the pairs that the losses align, from features with `pooled [B, n, D]` and `mask [B, n]`."""
        m, x = self.project_text(torch.cat([total(mention), total(text)])).chunk(2)
        pieces, real = vectors(parts)
        mask = never_empty(real) if self.mask_parts else None
        v, p = projected(self.project_image, total(photo), pieces, mask)
        by_sight, by_text = self.enhance.beside(m, p, x, mask)
        if profile is not None and self.enhance_profile is not None:
            attributes, known = vectors(profile)
            found = self.enhance_profile(m, self.project_text(attributes), known)
            by_sight = by_sight + found * known.any(1, keepdim=True)
        return Fused(self.head(m + by_sight + by_text), (v, x), (by_sight, by_text))
