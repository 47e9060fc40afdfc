"""The dynamic query: one vector of mention, sentence, photo and the caption of the photo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from mmkit.batch import Batch, Features, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.attention import VectorAttention
from mmkit.fusers.base import Fuser
from mmkit.fusers.pooled import shared_width, total, vectors
from mmkit.fusers.projection import Projection, QueryHead, xavier_uniform_

PART = "dim.dynamic_query.v1"


class DynamicQuery(Fuser):
    """Joins mention, sentence, photo and the photo's caption into one query (DIM).

    Source: Song et al., PRCV 2024, arXiv 2407.12019. There are two forms. m, x, v and c are the encoders' features of
    mention, sentence, photo and caption. T and I are the projections of texts and images. A is multi-head attention.

    released: query = Linear(dropout(m + x + v + T(c))). This is what the authors' code computes. Absent inputs are zero
    vectors, and the photos of an example are added up.

    paper: query = Linear(dropout(T(m) + A(T(m), K, K))) with K = T(x), I(v), T(c). The paper says only that the
    modalities interact through multi-head attention with the mention as query. The rest is our choice. All modalities
    are projected as in DWE. They form one sequence of keys: each photo is a key, and absent inputs are none. The
    mention is added to the result.

    Args:
        mention, text, photo, caption: names of the encoders in the recipe. All layers have the width of the mention's
            features. In the released form, the features of sentence and photo must have this width, too.
        form: "released" or "paper".
        dim: width of the query, which must be that of the entities' features. None: that of the mention's features.
        heads: number of attention heads in the form "paper".
        dropout: after each projection and before the last layer.
    """

    provides: frozenset[str] = frozenset({"query"})

    def __init__(
        self,
        mention: str = "mention",
        text: str = "text",
        photo: str = "photo",
        caption: str = "caption",
        form: Literal["released", "paper"] = "released",
        dim: int | None = None,
        heads: int = 8,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        self.mention, self.text, self.photo, self.caption = mention, text, photo, caption
        self.form, self.dim, self.heads, self.dropout = form, dim, heads, dropout

    def requires(self) -> dict[str, frozenset[str]]:
        names = [self.mention, self.text, self.photo, self.caption]
        return {name: frozenset({"pooled", "mask"}) for name in names}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        """Make the layers. Raises `PartError` if widths that must be equal differ, or if `heads` does not fit."""
        width = encoders[self.mention].dim
        texts = [self.caption]
        if self.form == "released":
            shared_width(encoders, [self.mention, self.text, self.photo], PART)
        else:
            texts = [self.mention, self.text, self.caption]
            self.project_image = Projection(encoders[self.photo].dim, width, self.dropout)
            self.interact = VectorAttention(width, self.heads)
        self.project_text = Projection(shared_width(encoders, texts, PART), width, self.dropout)
        dim = self.dim or width
        self.head = QueryHead(width, dim, self.dropout)
        self.dims = {"query": dim}
        xavier_uniform_(self)

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        features = {name: encoders[name](batch.inputs[name]) for name in self.requires()}
        named = (self.mention, self.text, self.photo, self.caption)
        fused = {"released": self.add, "paper": self.attend}[self.form](*(features[name] for name in named))
        return States({"query": self.head(fused)})

    def add(self, mention: Features, text: Features, photo: Features, caption: Features) -> Tensor:
        """The form "released" before the last layer, `[B, width]`. The features have `pooled` and `mask`."""
        raw = total(mention) + total(text) + total(photo)
        all_: Tensor = raw + self.project_text(total(caption))
        return all_

    def attend(self, mention: Features, text: Features, photo: Features, caption: Features) -> Tensor:
        """The form "paper" before the last layer, `[B, width]`: the mention plus its attention over the others."""
        (x, has_text), (v, has_photo), (c, has_caption) = (vectors(f) for f in (text, photo, caption))
        keys = torch.cat([self.project_text(x), self.project_image(v), self.project_text(c)], dim=1)
        real = torch.cat([has_text, has_photo, has_caption], dim=1)
        m = self.project_text(total(mention))
        query: Tensor = m + self.interact(m, keys, real)
        return query
