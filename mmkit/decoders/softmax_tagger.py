"""`mmkit.softmax_tagger.v1`: tags each word on its own, by a softmax over tags."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from mmkit.batch import Features, States
from mmkit.decoders.tagger import Tagger, check_first
from mmkit.decoders.tagging import Scheme


class SoftmaxTagger(Tagger):
    """Tags each word on its own by a softmax over tags.

    `text` names the text encoder, `types` the span types in label order (default: those of the training data,
    sorted). `subwords` can only be "first": words are tagged by their first subword (see `Tagger`).

    Loss `cross_entropy`: mean over a sentence's positions, then over sentences, so that long and short sentences
    count the same.
    """

    captures = True

    def __init__(
        self,
        text: str = "text",
        *,
        scheme: Scheme = "bio",
        types: list[str] | None = None,
        subwords: Literal["first"] = "first",
        dropout: float = 0.1,
    ) -> None:
        check_first(subwords)
        super().__init__(text, scheme=scheme, types=types, dropout=dropout)

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        emissions, mask = self.emissions(states)
        tags = targets["tags"].masked_fill(~mask, -100)
        losses = F.cross_entropy(emissions.float().transpose(1, 2), tags, ignore_index=-100, reduction="none")
        return {"cross_entropy": (losses.sum(1) / mask.sum(1).clamp(min=1)).mean()}

    def tag(self, emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The most probable tag of each position and its log-probability."""
        log_probs, tags = emissions.float().log_softmax(2).max(2)
        return tags.masked_fill(~mask, -1), log_probs
