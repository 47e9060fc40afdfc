"""`more.pair_classifier.v1`: classifies the relation of two spans of a sentence with a context after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from mmkit.batch import Features, States
from mmkit.data.problems import Problem
from mmkit.data.types import Example, TextView
from mmkit.decoders.pair_classifier import PairClassifier
from mmkit_more.agreement import check_two_views, class_agreement
from mmkit_more.contexts import TEXT_CONTEXT
from mmkit_more.two_views import second_view, states_of_second
from mmkit_more.views import SEPARATOR, Contexts
from mmkit_more.word_dropout import WordDropout


class ContextClassifier(PairClassifier):
    """Classifies the relation of two spans, with a context retrieved for their sentence (MoRe; Wang et al., 2022).

    `context` is the note that holds the context: `more.text_context`, `more.image_context`, or None for the baseline
    without one. `separator` is a word between sentence and context; if both are too long, the context is cut.
    `relations`, `none_label`, markers, `order`, `layer_norm` and `dropout` are those of `mmkit.pair_classifier.v1`,
    with the paper's defaults; the markers are not special tokens of XLM-R, which has its own `<s>`.
    `word_dropout` is the probability with which a marker's state is zeroed in training.

    Loss `cross_entropy`: mean over pairs. With `two_views`, which needs the fuser `more.two_views.v1`, the pair is
    also classified without the context, and the losses are `cross_entropy`, `plain_cross_entropy`, and `agreement`,
    the divergence KL(with ‖ without) of both distributions, softened by `temperature` (see `class_agreement`).
    """

    captures = True

    def __init__(
        self,
        *,
        context: str | None = TEXT_CONTEXT,
        separator: str = SEPARATOR,
        word_dropout: float = 0.1,
        two_views: bool = False,
        temperature: float = 1.0,
        relations: list[str] | None = None,
        none_label: str = "None",
        head_markers: tuple[str, str] = ("[H]", "[/H]"),
        tail_markers: tuple[str, str] = ("[T]", "[/T]"),
        order: Literal["role", "text"] = "text",
        layer_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            relations=relations,
            none_label=none_label,
            head_markers=head_markers,
            tail_markers=tail_markers,
            order=order,
            layer_norm=layer_norm,
            dropout=dropout,
        )
        check_two_views(context, two_views, temperature)
        self.contexts = Contexts(context, separator)
        self.word_dropout = WordDropout(word_dropout)
        self.two_views, self.temperature = two_views, temperature
        if two_views:
            self.requires = self.requires | states_of_second("tokens", "mask", "marker_index")

    def examine(self, examples: Sequence[Example], *, annotated: bool = True) -> Iterable[Problem]:
        yield from super().examine(examples, annotated=annotated)
        if annotated:
            yield from self.contexts.problems(examples)

    def check(self, examples: Sequence[Example]) -> None:
        super().check(examples)
        self.contexts.check(examples)

    def views(self, example: Example) -> dict[str, TextView]:
        """`text`: the tokens with markers around both spans and the context after them; `plain`: without it."""
        return self.contexts.views(example, super().views(example)["text"])

    def logits(self, states: States) -> Tensor:
        return super().logits(self.word_dropout.tokens(states))

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        if not self.two_views:
            return super().loss(states, targets)
        logits, plain = self.logits(states), self.logits(second_view(states))
        return {
            "cross_entropy": F.cross_entropy(logits, targets["relation"]),
            "plain_cross_entropy": F.cross_entropy(plain, targets["relation"]),
            "agreement": class_agreement(logits, plain, self.temperature),
        }
