"""`gmner.grounded_tagger.v1`: tags names, and chooses for each a region of the photo, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmkit.batch import Batch, Features, States
from mmkit.data.problems import Problem, counted
from mmkit.data.types import Entity, Example, Image, Prediction, Region, TextView
from mmkit.decoders.base import Labels
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.tagging import Scheme
from mmkit.errors import DataError, PartError
from mmkit.tasks import Task
from mmkit_gmner.matcher import Match, Matcher, Spans
from mmkit_gmner.overlap import best_iou
from mmkit_gmner.task import VISIBLE, GroundedTask

HINT = "gmner.proposals.v1 adds regions of the photo; leave out tables of object crops"

RIGHT = 0.5
"""The overlap from which on a region shows what a gold box shows, as in the metric."""


class GroundedTagger(CrfTagger):
    """Tags words with a CRF and chooses a region of the photo for each span, if the photo shows what it names.

    The regions are the example's object images, in their order (`gmner.proposals.v1` adds them). In training, regions
    are chosen for the gold spans; in predictions, for the predicted ones. A span gets the best region if the photo
    shows it with a probability of `threshold` or more, and none if there is no region.

    Losses, each a sum over a sentence's spans and a mean over sentences: `nll` of the CRF; `visible`, binary
    cross-entropy; `region`, the divergence KL(target ‖ predicted) over the regions, for spans that the photo shows.
    The target is in proportion to the overlap (IoU) with the gold boxes, where that is 0.5 or more (Yu et al., ACL
    2023). `uncovered` says what is learnt of a span that the photo shows, but no region: "visible", which is true, or
    "none", as in H-Index's code.

    `context` is a note with a text about the post, such as `gmner.context`: the text encoder reads it as a second text,
    and cuts it first if both are too long. None: the sentence alone.
    """

    requires = CrfTagger.requires | {"regions", "region_mask"}
    task: Task = GroundedTask()
    reads_windows = True

    def __init__(
        self,
        text: str = "text",
        *,
        uncovered: Literal["visible", "none"] = "visible",
        threshold: float = 0.5,
        context: str | None = None,
        scheme: Scheme = "bio",
        types: list[str] | None = None,
        dropout: float = 0.1,
        constraints: bool = False,
    ) -> None:
        super().__init__(text, scheme=scheme, types=types, dropout=dropout, constraints=constraints)
        if not 0 <= threshold <= 1:
            raise PartError(f"threshold is a probability, not {threshold}", code="part.setting")
        self.uncovered, self.threshold, self.rate = uncovered, threshold, dropout
        self.context = context

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        if dims["regions"] != dims["tokens"]:
            raise PartError(
                f"regions are {dims['regions']} wide, and the text's states {dims['tokens']}",
                hint="the fuser gmner.tokens_and_regions.v1 gives both in one width",
                code="part.widths",
            )
        super().build(dims, labels, entities)
        self.type_ids = {name: i for i, name in enumerate(self.tags.types)}
        self.matcher = Matcher(dims["tokens"], len(self.type_ids), self.rate)

    def examine(self, examples: Sequence[Example], *, annotated: bool = True) -> Iterable[Problem]:
        yield from super().examine(examples, annotated=annotated)
        at = [(x.id, None) for x in examples if not _all_regions(x)]
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

    # Training

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """The tags, and of the batch's N spans `spans [N, 4]` (row, start, end, type), `overlap [N, n]` of each region
        with the gold boxes, and `shown [N]`: whether there are any."""
        tags = super().targets(examples, inputs)  # refuses types that were not learnt
        every = [(row, span) for row, example in enumerate(examples) for span in example.spans]
        regions = [_regions(example) for example in examples]
        most = max((len(own) for own in regions), default=0)
        overlap = np.zeros((len(every), most), dtype=np.float32)
        for i, (row, span) in enumerate(every):
            if span.regions:
                overlap[i, : len(regions[row])] = [best_iou(own, span.regions) for own in regions[row]]
        bounds = [(row, span.start, span.end, self.type_ids[span.label]) for row, span in every]
        return {
            **tags,
            "spans": torch.tensor(bounds, dtype=torch.long).reshape(-1, 4),
            "overlap": torch.from_numpy(overlap),
            "shown": torch.tensor([bool(span.regions) for _, span in every], dtype=torch.bool),
        }

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        match = self.matcher(states, Spans(*targets["spans"].unbind(1)))
        wanted = _shares(targets["overlap"], match.regions.shape[1])  # [N, n]
        covered = wanted.sum(1) > 0
        shown = targets["shown"] if self.uncovered == "visible" else covered
        # Without any region there is nothing to learn it from: such spans are never said to be seen.
        visible = F.binary_cross_entropy_with_logits(match.visible, shown.float(), reduction="none")
        predicted = match.regions.masked_fill(wanted == 0, 0.0)  # 0 · -inf is not a number
        divergence = (torch.xlogy(wanted, wanted) - wanted * predicted).sum(1)
        sentences = len(states["first_subword"])
        return {
            **super().loss(states, targets),
            "visible": (visible * match.any).sum() / sentences,
            "region": divergence.sum() / sentences,
        }

    # Prediction

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        """Spans with the region that shows what they name; the probabilities that one does are the note `VISIBLE`."""
        predictions = super().decode(states, batch)
        every = [(row, span) for row, prediction in enumerate(predictions) for span in prediction.spans]
        bounds = [(row, span.start, span.end, self.type_ids[span.label]) for row, span in every]
        spans = torch.tensor(bounds, dtype=torch.long, device=states["tokens"].device).reshape(-1, 4)
        best, visible = _chosen(self.matcher(states, Spans(*spans.unbind(1))))
        regions = [_regions(example) for example in batch.examples]
        placed = [
            replace(span, regions=(regions[row][best[i]],))
            if visible[i] >= self.threshold and regions[row]
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


def _regions(example: Example) -> list[Region]:
    """The regions of an example's photos that its object images are, in the order in which an encoder reads them.

    Raises `DataError` for an object image that is no part of a photo of the example.
    """
    photos = {image.path: i for i, image in enumerate(example.images) if image.role == "photo"}
    objects = [image for image in example.images if image.role == "object" and image.path is not None]
    return [_region(image, photos, example.id) for image in objects]


def _all_regions(example: Example) -> bool:
    """Whether every object image is a part of a photo of the example."""
    try:
        _regions(example)
    except DataError:
        return False
    return True


def _region(image: Image, photos: Mapping[str | None, int], where: str) -> Region:
    if image.box is None or image.path not in photos:
        raise DataError(
            f"the object image {image.path} is no box in one of its photos",
            where=where,
            hint=HINT,
            code="gmner.no-region",
        )
    return Region(photos[image.path], image.box)


def _shares(overlap: Tensor, regions: int) -> Tensor:
    """The wanted distribution over regions `[N, n]`: overlaps of `RIGHT` or more in proportion; zeros without any."""
    fitted = F.pad(overlap, (0, max(0, regions - overlap.shape[1])))[:, :regions]
    right = fitted.masked_fill(fitted < RIGHT, 0.0)
    return right / right.sum(1, keepdim=True).clamp(min=RIGHT)


def _chosen(match: Match) -> tuple[list[int], list[float]]:
    """The best region of each span, and the probability that the photo shows it; 0 where there is no region."""
    visible = torch.sigmoid(match.visible) * match.any
    if not len(visible):
        return [], []
    both = torch.stack([match.regions.argmax(1).to(visible), visible]).cpu()  # one transfer
    return both[0].long().tolist(), both[1].double().tolist()
