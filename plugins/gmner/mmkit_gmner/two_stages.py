"""`gmner.two_stages.v1`: what `gmner.tokens_and_regions.v1` gives, beside the scores of a trained tagger."""

from __future__ import annotations

from collections.abc import Mapping

from mmkit.batch import Batch, States
from mmkit.encoders.abilities import GivesScores
from mmkit.encoders.base import Encoder
from mmkit.fusers.needs import Needs
from mmkit_gmner.fuser import TokensAndRegions

EMISSIONS, LENGTHS = "tagger.emissions", "tagger.lengths"


class TwoStages(TokensAndRegions):
    """Gives `gmner.region_matcher.v1` a text, the photo's regions, and what a trained tagger says of the text's words.

    States: those of `gmner.tokens_and_regions.v1`, of the encoders `text` and `regions`; and of the run `tagger`
    (`mmkit.run.v1`) `tagger.emissions [B, W, K]`, the scores of words' tags, with `tagger.lengths [B]`.
    """

    provides = TokensAndRegions.provides | {EMISSIONS, LENGTHS}

    def __init__(
        self,
        text: str = "text",
        regions: str = "regions",
        tagger: str = "tagger",
        *,
        attend: bool = False,
        heads: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(text, regions, attend=attend, heads=heads, dropout=dropout)
        self.tagger = tagger

    def requires(self) -> Mapping[str, Needs | frozenset[str]]:
        return {**super().requires(), self.tagger: Needs(frozenset({"pooled"}), (GivesScores,))}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        states = super().forward(encoders, batch)
        told = encoders[self.tagger](batch.inputs[self.tagger])  # a run has one slot for each example
        scores = {EMISSIONS: told["emissions"].squeeze(1), LENGTHS: told["lengths"].squeeze(1)}
        return States({**states.tensors, **scores}, states.losses)
