"""`gmner.grounded_tagger.v1`: tags names, and chooses for each a region of the photo, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from mmkit.batch import Batch, Features, States
from mmkit.data.problems import Problem
from mmkit.data.types import Entity, Example, Prediction, TextView
from mmkit.decoders.base import LabelAxes, Labels
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.tagging import Scheme
from mmkit.tasks import Task
from mmkit_gmner.grounding import Grounding, Uncovered, check_widths, span_targets
from mmkit_gmner.matcher import Matcher, Spans
from mmkit_gmner.task import GroundedTask


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

    captures = "the spans that it finds regions for are another number in each batch"
    requires = CrfTagger.requires | {"regions", "region_mask"}
    task: Task = GroundedTask()
    reads_windows = True

    def __init__(
        self,
        text: str = "text",
        *,
        uncovered: Uncovered = "visible",
        threshold: float = 0.5,
        context: str | None = None,
        scheme: Scheme = "bio",
        types: list[str] | None = None,
        dropout: float = 0.1,
        constraints: bool = False,
    ) -> None:
        super().__init__(text, scheme=scheme, types=types, dropout=dropout, constraints=constraints)
        self.grounding, self.rate = Grounding(uncovered, threshold, context), dropout

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        check_widths(dims)
        super().build(dims, labels, entities)
        self.type_ids = {name: i for i, name in enumerate(self.tags.types)}
        self.matcher = Matcher(dims["tokens"], len(self.type_ids), self.rate)

    def label_axes(self) -> Mapping[str, LabelAxes] | None:
        axes = super().label_axes()
        return None if axes is None else {**axes, "matcher.types.weight": ("types", None)}

    def examine(self, examples: Sequence[Example], *, annotated: bool = True) -> Iterable[Problem]:
        yield from super().examine(examples, annotated=annotated)
        yield from self.grounding.problems(examples, annotated)

    def views(self, example: Example) -> dict[str, TextView]:
        """The tokens, and the words of the context as a second text."""
        return self.grounding.views(example)

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """The tags, and what `span_targets` gives of the batch's spans."""
        return {**super().targets(examples, inputs), **span_targets(examples, self.type_ids)}

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        match = self.matcher(states, Spans(*targets["spans"].unbind(1)))
        grounded = self.grounding.losses(match, targets, len(states["first_subword"]))
        return {**super().loss(states, targets), **grounded}

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        """Spans with the region that shows what they name; the probabilities that one does are the note `VISIBLE`."""
        found = super().decode(states, batch)
        return self.grounding.placed(found, batch.examples, self.matcher, states, self.type_ids)
