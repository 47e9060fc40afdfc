"""Which region of a photo shows what a span names, and whether any does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.batch import States
from mmkit.decoders.tagger import at_positions


@dataclass(frozen=True)
class Spans:
    """The spans of a batch, one after the other: int64 `[N]` each; bounds are words, `end` exclusive."""

    row: Tensor
    start: Tensor
    end: Tensor
    type: Tensor


@dataclass(frozen=True)
class Match:
    """`regions [N, n]`: log-probabilities over the regions of a span's photo, -inf where there is none.

    `visible [N]`: the logit of whether the photo shows what the span names. `any [N]`: whether there is a region.
    """

    regions: Tensor
    visible: Tensor
    any: Tensor


class Matcher(nn.Module):
    """Compares spans with regions, both `width` wide.

    A span's query is made of the mean of its words' states and its type's embedding. A region's score is their bilinear
    product, divided by √width. Whether the photo shows it is read off the query and the mean of the regions under the
    scores' softmax.
    """

    def __init__(self, width: int, types: int, dropout: float) -> None:
        super().__init__()
        self.types = nn.Embedding(types, width)
        self.query = nn.Sequential(
            nn.Linear(2 * width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )
        self.key = nn.Linear(width, width, bias=False)
        self.visible = nn.Sequential(
            nn.Linear(2 * width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 1)
        )

    def forward(self, states: States, spans: Spans) -> Match:
        """The regions of each span. Needs the states `tokens`, `first_subword`, `regions` and `region_mask`."""
        query = self.query(torch.cat([_means(states, spans), self.types(spans.type)], 1))  # [N, D]
        regions, there = states["regions"][spans.row], states["region_mask"][spans.row]  # [N, n, D], [N, n]
        some = there.any(1)
        scores = torch.einsum("nd,nkd->nk", self.key(query), regions).float() * query.shape[1] ** -0.5
        scores = scores.masked_fill(~there, float("-inf")).masked_fill(~some.unsqueeze(1), 0.0)
        log_probs = scores.log_softmax(1)
        mixed = torch.einsum("nk,nkd->nd", log_probs.exp().to(regions), regions)  # zero without regions
        visible = self.visible(torch.cat([query, mixed], 1)).squeeze(1).float()
        return Match(log_probs.masked_fill(~there, float("-inf")), visible, some)


def _means(states: States, spans: Spans) -> Tensor:
    """The mean of the states of each span's words `[N, D]`; words that were cut off do not count."""
    first = states["first_subword"]
    if not first.shape[1]:  # only empty sentences, which have no spans
        return states["tokens"].new_zeros(len(spans.row), states["tokens"].shape[2])
    read = first >= 0
    words = at_positions(states["tokens"], first).float().masked_fill(~read.unsqueeze(2), 0.0)  # [B, W, D]
    sums = F.pad(words.cumsum(1), (0, 0, 1, 0))
    counts = F.pad(read.cumsum(1), (1, 0))
    number = (counts[spans.row, spans.end] - counts[spans.row, spans.start]).clamp(min=1)
    total = sums[spans.row, spans.end] - sums[spans.row, spans.start]
    return (total / number.unsqueeze(1)).to(states["tokens"])
