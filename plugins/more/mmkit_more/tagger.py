"""`more.crf_tagger.v1`: tags the words of a sentence that was encoded with a retrieved context behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from mmkit.batch import Batch, Features, States
from mmkit.data.problems import Problem
from mmkit.data.types import Example, Prediction, TextView
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.tagger import at_least_one
from mmkit.decoders.tagging import Ids, Scheme
from mmkit.errors import RecipeError
from mmkit_more.agreement import check_two_views, tag_agreement
from mmkit_more.contexts import TEXT_CONTEXT
from mmkit_more.outside import in_one_row, with_context_marked, with_context_words, within
from mmkit_more.two_views import second_view, states_of_second
from mmkit_more.views import SEPARATOR, Contexts
from mmkit_more.word_dropout import WordDropout


class ContextTagger(CrfTagger):
    """Tags words with a linear-chain CRF that sees a context retrieved for them (MoRe; Wang et al., 2022).

    `context` is the note that holds the context: `more.text_context`, `more.image_context`, or None for the
    baseline without one. `separator` is a word put between sentence and context. The context is cut where both are
    too long. `text`, `scheme`, `types`, `dropout` and `constraints` are those of `mmkit.crf_tagger.v1`; `word_dropout`
    is the probability with which a word's state is zeroed in training.

    Loss `nll`: the negative log-likelihood of a sentence's tags, mean over sentences. With `two_views`, which needs
    the fuser `more.two_views.v1`, the sentence is also tagged without its context, and the losses are `nll` and
    `plain_nll`, half of each view's, and `agreement`, half the divergence KL(with ‖ without) of the tags' posteriors,
    softened by `temperature` (see `tag_agreement`). Their sum is the paper's loss.

    `context_tags` says whether the CRF also reads the context. With "none" its words have no tags. With "outside" the
    separator and every word of the context are tagged O, in training and in the search for the best tags, as in the
    released code of PGIM (Li et al., EMNLP Findings 2023). A span that reaches into the context is then no predicted
    span; their number is the note `more.context_spans` of a prediction. Such a run cannot be part of a mixture.
    """

    def __init__(
        self,
        text: str = "text",
        *,
        context: str | None = TEXT_CONTEXT,
        separator: str = SEPARATOR,
        word_dropout: float = 0.1,
        two_views: bool = False,
        temperature: float = 1.0,
        context_tags: Literal["none", "outside"] = "none",
        scheme: Scheme = "bioes",
        types: list[str] | None = None,
        dropout: float = 0.0,
        constraints: bool = False,
    ) -> None:
        super().__init__(text, scheme=scheme, types=types, dropout=dropout, constraints=constraints)
        check_two_views(context, two_views, temperature)
        self.contexts = Contexts(context, separator)
        self.word_dropout = WordDropout(word_dropout)
        self.two_views, self.temperature = two_views, temperature
        if two_views:
            self.requires = self.requires | states_of_second("tokens", "mask", "first_subword")
        self.tags_context = context_tags == "outside"
        if self.tags_context:
            check_context_tags(context, two_views)
            self.requires = self.requires | {"marker_index"}
            self.score_names = frozenset()  # its CRF scores more than the words of the sentence

    @property
    def captures(self) -> bool | str:
        return (
            "the words of a context, which it tags too, are another number in each batch"
            if self.tags_context
            else True
        )

    def examine(self, examples: Sequence[Example], *, annotated: bool = True) -> Iterable[Problem]:
        yield from super().examine(examples, annotated=annotated)
        if annotated:
            yield from self.contexts.problems(examples)

    def check(self, examples: Sequence[Example]) -> None:
        super().check(examples)
        self.contexts.check(examples)

    def views(self, example: Example) -> dict[str, TextView]:
        """`text`: the tokens with the context behind them; `plain`: the tokens alone."""
        sentence = TextView.of(example)
        views = self.contexts.views(example, sentence)
        return {**views, "text": with_context_marked(views["text"], sentence)} if self.tags_context else views

    def position_tags(self, words: Ids, alignment: Features) -> Tensor:
        """The tags of words; with `context_tags = "outside"` those of the context's words are behind them."""
        tags = super().position_tags(words, alignment)
        if not self.tags_context:
            return tags
        first, context = at_least_one(alignment["first_subword"]), alignment["marker_index"]
        outside = torch.full_like(context, self.tags.outside).masked_fill(context < 0, -1)
        return in_one_row(first, context, torch.cat([tags, outside], dim=1))

    def emissions(self, states: States) -> tuple[Tensor, Tensor]:
        read = self.word_dropout.tokens(states)
        return super().emissions(with_context_words(read) if self.tags_context else read)

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        predictions = super().decode(states, batch)
        return within(batch.examples, predictions) if self.tags_context else predictions

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        if not self.two_views:
            return super().loss(states, targets)
        emissions, mask = self.emissions(states)
        plain, _ = self.emissions(second_view(states))
        tags, masks = targets["tags"].repeat(2, 1), mask.repeat(2, 1)
        likelihoods = self.crf.log_likelihood(torch.cat([emissions, plain]), tags, masks).view(2, -1)
        nll, plain_nll = -likelihoods.mean(1) / 2
        agreement = tag_agreement(self.crf, emissions, plain, mask, self.temperature) / 2
        return {"nll": nll, "plain_nll": plain_nll, "agreement": agreement}


def check_context_tags(context: str | None, two_views: bool) -> None:
    """Raise `RecipeError` for settings with which the words of a context cannot be tagged."""
    if context is None or two_views:
        why = "there is no context" if context is None else "two_views compares tags of the same words"
        raise RecipeError(
            f'context_tags = "outside", but {why}',
            where="model.decoder.context_tags",
            hint='name the note that holds the context, or set context_tags = "none"'
            if context is None
            else 'set two_views = false, or context_tags = "none"',
            code="more.context-tags",
        )
