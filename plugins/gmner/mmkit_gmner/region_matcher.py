"""`gmner.region_matcher.v1`: chooses a region of the photo, or none, for each name that a trained tagger finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from mmkit.batch import Batch, Features, States
from mmkit.data.problems import Problem
from mmkit.data.types import Entity, Example, Prediction, TextView
from mmkit.decoders.base import Decoder, LabelAxes, Labels, label_names
from mmkit.decoders.examined import type_problems
from mmkit.decoders.tagger import Tagger, predicted_spans
from mmkit.decoders.tagging import learn_types
from mmkit.encoders.abilities import GivesScores
from mmkit.encoders.base import Encoder
from mmkit.errors import DataError, RecipeError
from mmkit.tasks import Task
from mmkit_gmner.grounding import Grounding, Uncovered, check_widths, span_targets
from mmkit_gmner.matcher import Matcher, Spans
from mmkit_gmner.task import GroundedTask
from mmkit_gmner.two_stages import EMISSIONS, LENGTHS


class RegionMatcher(Decoder):
    """The second of two stages: a trained run has tagged the names, and this chooses a region for each, or none.

    The names, their types and their scores are exactly those of the run (`mmkit.run.v1`), which stays as it is. So it
    must be frozen, and know the same types as the training data. Regions are chosen as in `gmner.grounded_tagger.v1`:
    in training for the gold spans, in predictions for those that the run found. `tagger` names the encoder that reads
    the run, `text` the one whose states of words are compared with the regions.

    Losses, each a sum over a sentence's spans and a mean over sentences: `visible`, whether the photo shows what the
    span names, and `region`, which region does. `uncovered`, `threshold` and `context` are those of
    `gmner.grounded_tagger.v1`; the run reads its own context, by its own settings.

    The two stages are those of the pipelines (-EVG) that Yu et al. (ACL 2023) compare with, and of RiVEG (Li et al.,
    ACL Findings 2024), with a network of our own for the second.
    """

    requires = frozenset({"tokens", "first_subword", "regions", "region_mask", EMISSIONS, LENGTHS})
    task: Task = GroundedTask()
    reads_windows = True

    def __init__(
        self,
        text: str = "text",
        tagger: str = "tagger",
        *,
        uncovered: Uncovered = "visible",
        threshold: float = 0.5,
        context: str | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.text, self.tagger, self.rate = text, tagger, dropout
        self.grounding = Grounding(uncovered, threshold, context)
        self._taggers: tuple[
            Tagger, ...
        ] = ()  # in a tuple, because it belongs to the encoder: no module of this

    def fit(self, examples: Iterable[Example]) -> Labels:
        """The types of spans in the data, sorted by name."""
        return {"types": learn_types(examples, None)}

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        check_widths(dims)
        self.type_ids = {name: i for i, name in enumerate(label_names(labels, "types"))}
        self.matcher = Matcher(dims["tokens"], len(self.type_ids), self.rate)

    def label_axes(self) -> Mapping[str, LabelAxes] | None:
        return {"matcher.types.weight": ("types", None)}

    def connect(self, encoders: Mapping[str, Encoder]) -> None:
        """Take the tagger from its run.

        Raises `RecipeError` if there is none, if it does not tag words, if it would be trained, or if it knows other
        types.
        """
        encoder = encoders.get(self.tagger)
        tagger = encoder.scoring_decoder() if isinstance(encoder, GivesScores) else None
        where = f"model.encoders.{self.tagger}"
        if encoder is None or not isinstance(tagger, Tagger):
            said = "there is no such encoder" if encoder is None else "this is no run that tags words"
            raise RecipeError(
                said,
                where=where,
                hint='name a trained tagger: @encoders = "mmkit.run.v1", and its folder as `run`',
                code="gmner.no-tagger",
            )
        if not encoder.frozen:
            raise RecipeError(
                "no loss of this decoder trains the tagger, so it cannot be trained here",
                where=f"{where}.frozen",
                hint="set frozen = true; gmner.grounded_tagger.v1 trains names and regions together",
                code="gmner.tagger-trained",
            )
        here, there = set(self.type_ids), set(tagger.tags.types)
        if here != there:
            told = [
                f"only the {who} {'has' if who == 'training data' else 'knows'} {', '.join(sorted(only))}"
                for who, only in (("tagger", there - here), ("training data", here - there))
                if only
            ]
            raise RecipeError(
                f"the tagger and the training data have different types: {'; '.join(told)}",
                where=where,
                hint="name a run trained with the same types; `rename` of a reader gives types other names",
                code="gmner.other-types",
            )
        self._taggers = (tagger,)

    def check(self, examples: Sequence[Example]) -> None:
        for tagger in self._taggers:
            try:
                tagger.check(examples)
            except DataError as error:
                what = f"the run of the encoder {self.tagger!r} cannot read the data: {error.what}"
                raise DataError(what, where=error.where, hint=error.hint, code=error.code) from error

    def examine(self, examples: Sequence[Example], *, annotated: bool = True) -> Iterable[Problem]:
        yield from super().examine(examples, annotated=annotated)
        yield from type_problems(examples, None)
        yield from self.grounding.problems(examples, annotated)

    def views(self, example: Example) -> dict[str, TextView]:
        """The tokens, and the words of the context as a second text."""
        return self.grounding.views(example)

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """What `span_targets` gives of the batch's gold spans."""
        return span_targets(examples, self.type_ids)

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        match = self.matcher(states, Spans(*targets["spans"].unbind(1)))
        return self.grounding.losses(match, targets, len(states["first_subword"]))

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        """The tagger's spans, each with the region that shows what it names, if the photo does.

        The probabilities that it does are the note `VISIBLE`.
        """
        (tagger,) = self._taggers
        emissions, lengths = states[EMISSIONS], states[LENGTHS]
        mask = torch.arange(emissions.shape[1], device=lengths.device) < lengths.unsqueeze(1)
        tags, log_probs = tagger.tag(emissions, mask)
        found = predicted_spans(tagger.tags, batch.examples, tags, log_probs)
        return self.grounding.placed(found, batch.examples, self.matcher, states, self.type_ids)
