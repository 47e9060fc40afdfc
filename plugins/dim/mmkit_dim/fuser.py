"""The dynamic query: a mention, its sentence and photo, and a caption of the photo."""

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

    Song et al., PRCV 2024, arXiv 2407.12019, in two forms. With m, x, v and c the features as the encoders give
    them, T and I the projections of texts and images, and A a multi-head attention:

    released: query = Linear(dropout(m + x + v + T(c))), what the authors' code computes.

    paper: query = Linear(dropout(T(m) + A(T(m), K, K))) with K = T(x), I(v), T(c). The paper says only that the
    modalities interact through multi-head attention with the mention as query. The rest is our choice: all modalities
    are projected as in DWE; they are one sequence of keys (each photo is a key, and what an example lacks is not);
    the mention is added to the result.

    In the released form, absent inputs are zero vectors, and the photos of an example are summed.

    Args:
        mention, text, photo, caption: names of the encoders in the recipe. All layers are as wide as the
            mention's features; in the released form, so are the sentence's and the photo's.
        form: the released code's query, or the paper's.
        dim: width of the query, which must be that of the entities' features; None: the mention encoder's.
        heads: attention heads of the paper's form.
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
        """Make the layers. Raises `PartError` if features that are added differ in width, or heads do not fit."""
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
        """The released form's `[B, width]` before the last layer, of features with `pooled` and `mask`."""
        raw = total(mention) + total(text) + total(photo)
        all_: Tensor = raw + self.project_text(total(caption))
        return all_

    def attend(self, mention: Features, text: Features, photo: Features, caption: Features) -> Tensor:
        """The paper's form of it: the mention plus its attention over the other modalities."""
        (x, has_text), (v, has_photo), (c, has_caption) = (vectors(f) for f in (text, photo, caption))
        keys = torch.cat([self.project_text(x), self.project_image(v), self.project_text(c)], dim=1)
        real = torch.cat([has_text, has_photo, has_caption], dim=1)
        m = self.project_text(total(mention))
        query: Tensor = m + self.interact(m, keys, real)
        return query
