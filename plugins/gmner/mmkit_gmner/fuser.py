"""`gmner.tokens_and_regions.v1`: the states of a text beside those of a photo's regions."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mmkit.batch import Batch, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.attention import VectorAttention
from mmkit.fusers.base import ALIGNMENT, Fuser
from mmkit.fusers.needs import Needs
from mmkit.fusers.pooled import vectors


class TokensAndRegions(Fuser):
    """Gives a decoder the text's subwords and the photo's regions, in one width.

    States: `tokens [B, T, D]`, as wide as the text's; `regions [B, n, D]`, zero where there is none, and `region_mask
    [B, n]`. With `attend`, each subword also looks at the regions, by one layer of attention with `heads` heads: what
    it finds is added to it. Without regions it finds nothing.

    `text` and `regions` name the encoders; that of regions gives `pooled [B, n, D']` of the object images.
    """

    provides = frozenset({"tokens", "mask", "regions", "region_mask"}) | ALIGNMENT

    def __init__(
        self,
        text: str = "text",
        regions: str = "regions",
        *,
        attend: bool = False,
        heads: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.text, self.regions = text, regions
        self.attend, self.heads = attend, heads
        self.dropout = nn.Dropout(dropout)

    def requires(self) -> Mapping[str, Needs | frozenset[str]]:
        return {self.text: frozenset({"tokens", "mask"}), self.regions: frozenset({"pooled", "mask"})}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        width = encoders[self.text].dim
        self.projection = nn.Linear(encoders[self.regions].dim, width)
        self.norm = nn.LayerNorm(width)
        if self.attend:
            self.attention = VectorAttention(width, self.heads)
        self.dims = {"tokens": width, "regions": width}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        inputs = batch.inputs[self.text]
        text = encoders[self.text](inputs)
        found, there = vectors(encoders[self.regions](batch.inputs[self.regions]))
        regions = self.norm(self.projection(found)).masked_fill(~there.unsqueeze(2), 0.0)
        tokens: Tensor = text["tokens"]
        if self.attend:
            seen = self.dropout(self.attention(tokens, regions, there))
            tokens = tokens + seen.masked_fill(~there.any(1)[:, None, None], 0.0)
        return States.of_text(
            {"tokens": tokens, "mask": text["mask"], "regions": regions, "region_mask": there}, inputs
        )
