"""`earlier.tagger.v1`: tags words by a softmax with smoothed labels."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from mmkit.batch import Features, States
from mmkit.decoders.tagger import Tagger


class SmoothedTagger(Tagger):
    """Tags each word on its own; `smoothing` is the share of a label's probability that all tags get."""

    def __init__(
        self,
        text: str = "text",
        *,
        scheme: Literal["bio", "bioes"] = "bio",
        types: list[str] | None = None,
        dropout: float = 0.1,
        smoothing: float = 0.05,
    ) -> None:
        super().__init__(text, scheme=scheme, types=types, dropout=dropout)
        self.smoothing = smoothing

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        emissions, mask = self.emissions(states)
        tags = targets["tags"].masked_fill(~mask, -100)
        losses = F.cross_entropy(
            emissions.transpose(1, 2),
            tags,
            ignore_index=-100,
            reduction="none",
            label_smoothing=self.smoothing,
        )
        return {"smoothed": (losses.sum(1) / mask.sum(1).clamp(min=1)).mean()}

    def tag(self, emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        log_probs, tags = emissions.log_softmax(2).max(2)
        return tags.masked_fill(~mask, -1), log_probs
