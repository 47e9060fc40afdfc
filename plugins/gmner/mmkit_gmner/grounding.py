"""What decoders that choose regions for spans share: targets, losses, chosen regions, a context as a second text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmkit.batch import Features, States
from mmkit.data.problems import Problem, counted
from mmkit.data.types import Example, Prediction, Region, TextView
from mmkit.decoders.tagging import unknown_type
from mmkit.errors import DataError, PartError
from mmkit_gmner.matcher import Match, Matcher, Spans
from mmkit_gmner.overlap import best_iou
from mmkit_gmner.regions import regions_in
from mmkit_gmner.task import VISIBLE

HINT = "gmner.proposals.v1 adds regions of the photo; leave out tables of object crops"

RIGHT = 0.5
"""The overlap from which on a region shows what a gold box shows, as in the metric."""

Uncovered: TypeAlias = Literal["visible", "none"]


@dataclass(frozen=True)
class Grounding:
    """Settings of a decoder that chooses regions; see `gmner.grounded_tagger.v1`. Raises `PartError`."""

    uncovered: Uncovered
    threshold: float
    context: str | None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise PartError(f"threshold is a probability, not {self.threshold}", code="part.setting")

    def problems(self, examples: Sequence[Example], annotated: bool) -> Iterator[Problem]:
        """Object images that are no regions, and contexts that no example has."""
        at = [(x.id, None) for x in examples if any(region is None for _, region in regions_in(x))]
        if at:
            said = counted(len(at), "example has", "examples have")
            yield Problem(
                f"{said} object images that are no boxes in their photo", at, HINT, "gmner.no-region"
            )
        if self.context is not None and annotated and not any(self.context in x.notes for x in examples):
            hint = "set `contexts` of the readers, or context = null to read sentences alone"
            yield Problem(
                f"no example has a context, the note {self.context!r}", hint=hint, code="gmner.no-context"
            )

    def views(self, example: Example) -> dict[str, TextView]:
        """The tokens, and the words of the context as a second text."""
        view = TextView.of(example)
        found = "" if self.context is None else example.notes.get(self.context, "")
        if not isinstance(found, str):
            raise DataError(
                f"the note {self.context!r} must be a text, not a {type(found).__name__}",
                where=example.id,
                code="encoder.wrong-note",
            )
        return {"text": replace(view, second=tuple(found.split()))}

    def losses(self, match: Match, targets: Features, sentences: int) -> dict[str, Tensor]:
        """`visible` and `region`: each a sum over spans, divided by the number of sentences."""
        wanted = _shares(targets["overlap"], match.regions > -math.inf, targets["needed"])  # [N, n]
        covered = wanted.sum(1) > 0
        shown = targets["shown"] if self.uncovered == "visible" else covered
        # Without any region there is nothing to learn it from: such spans are never said to be seen.
        visible = F.binary_cross_entropy_with_logits(match.visible, shown.float(), reduction="none")
        predicted = match.regions.masked_fill(wanted == 0, 0.0)  # 0 · -inf is not a number
        divergence = (torch.xlogy(wanted, wanted) - wanted * predicted).sum(1)
        return {"visible": (visible * match.any).sum() / sentences, "region": divergence.sum() / sentences}

    def placed(
        self,
        predictions: Sequence[Prediction],
        examples: Sequence[Example],
        matcher: Matcher,
        states: States,
        type_ids: Mapping[str, int],
    ) -> list[Prediction]:
        """The predictions with the region of each span that the photo shows, and the probabilities as the note
        `VISIBLE`."""
        every = [(row, span) for row, prediction in enumerate(predictions) for span in prediction.spans]
        bounds = [(row, span.start, span.end, type_ids[span.label]) for row, span in every]
        spans = torch.tensor(bounds, dtype=torch.long, device=states["tokens"].device).reshape(-1, 4)
        best, visible, read = _chosen(matcher(states, Spans(*spans.unbind(1))))
        regions = [regions_of(example) for example in examples]
        placed = [
            replace(span, regions=(regions[row][best[i]],))
            if visible[i] >= self.threshold and regions[row] and read[i] >= _needed(regions[row])
            else span
            for i, (row, span) in enumerate(every)
        ]
        ends = np.cumsum([0, *(len(prediction.spans) for prediction in predictions)]).tolist()
        return [
            replace(
                prediction,
                spans=tuple(placed[begin:end]),
                notes={**prediction.notes, VISIBLE: visible[begin:end]},
            )
            for prediction, begin, end in zip(predictions, ends[:-1], ends[1:], strict=True)
        ]


def check_widths(dims: Mapping[str, int]) -> None:
    """Raise `PartError` unless the states `regions` are as wide as `tokens`."""
    if dims["regions"] != dims["tokens"]:
        raise PartError(
            f"regions are {dims['regions']} wide, and the text's states {dims['tokens']}",
            hint="the fuser gmner.tokens_and_regions.v1 gives both in one width",
            code="part.widths",
        )


def span_targets(examples: Sequence[Example], type_ids: Mapping[str, int]) -> Features:
    """Of the batch's N spans: `spans [N, 4]` (row, start, end, type), `overlap [N, n]` of each region with the gold
    boxes, `needed [N]` (see `_needed`), and `shown [N]`: whether there are gold boxes.

    Raises `DataError` for an unknown type.
    """
    every = [(row, span) for row, example in enumerate(examples) for span in example.spans]
    for row, span in every:
        if span.label not in type_ids:
            raise unknown_type(span.label, type_ids, examples[row])
    regions = [regions_of(example) for example in examples]
    most = max((len(own) for own in regions), default=0)
    overlap = np.zeros((len(every), most), dtype=np.float32)
    counts = [_needed(regions[row]) for row, _ in every]
    for i, (row, span) in enumerate(every):
        if span.regions:
            overlap[i, : len(regions[row])] = [best_iou(own, span.regions) for own in regions[row]]
    bounds = [(row, span.start, span.end, type_ids[span.label]) for row, span in every]
    return {
        "spans": torch.tensor(bounds, dtype=torch.long).reshape(-1, 4),
        "overlap": torch.from_numpy(overlap),
        "needed": torch.tensor(counts, dtype=torch.long),
        "shown": torch.tensor([bool(span.regions) for _, span in every], dtype=torch.bool),
    }


def regions_of(example: Example) -> list[Region]:
    """The regions of an example's photos that its object images are, in the order in which an encoder reads them.

    Raises `DataError` for an object image that is no part of a photo of the example.
    """
    regions = []
    for image, region in regions_in(example):
        if region is None:
            raise DataError(
                f"the object image {image.path} is no box in one of its photos",
                where=example.id,
                hint=HINT,
                code="gmner.no-region",
            )
        regions.append(region)
    return regions


def _needed(regions: Sequence[Region]) -> int:
    """How many of an example's regions an encoder must have read, so that it is known which is which.

    It moves those up that it can read. So if one of several photos is missing, nothing says which regions are left;
    of one photo, it reads all of them or none.
    """
    return len(regions) if len({region.image for region in regions}) > 1 else 0


def _shares(overlap: Tensor, there: Tensor, needed: Tensor) -> Tensor:
    """The wanted distribution over regions `[N, n]`: overlaps of `RIGHT` or more in proportion; zeros without any.

    `there [N, n]` are the regions that the encoder has read.
    """
    regions = there.shape[1]
    fitted = F.pad(overlap, (0, max(0, regions - overlap.shape[1])))[:, :regions]
    known = there & (there.sum(1) >= needed).unsqueeze(1)
    right = fitted.masked_fill((fitted < RIGHT) | ~known, 0.0)
    return right / right.sum(1, keepdim=True).clamp(min=RIGHT)


def _chosen(match: Match) -> tuple[list[int], list[float], list[int]]:
    """The best region of each span, the probability that the photo shows it, and the number of regions that were read.

    The probability is 0 where there is no region.
    """
    visible = torch.sigmoid(match.visible) * match.any
    if not len(visible):
        return [], [], []
    best, read = match.regions.argmax(1), (match.regions > -math.inf).sum(1)
    told = torch.stack([best.to(visible), visible, read.to(visible)]).cpu()  # one transfer
    return told[0].long().tolist(), told[1].double().tolist(), told[2].long().tolist()
