"""`more.crf_tagger.v1`: tags the words of a sentence that was encoded with a retrieved context behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mmkit.batch import Features, States
from mmkit.data.problems import Problem
from mmkit.data.types import Example, TextView
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.tagging import Scheme
from mmkit_more.agreement import check_two_views, tag_agreement
from mmkit_more.contexts import TEXT_CONTEXT
from mmkit_more.two_views import second_view, states_of_second
from mmkit_more.views import SEPARATOR, Contexts
from mmkit_more.word_dropout import WordDropout


class ContextTagger(CrfTagger):
    """Tags words with a linear-chain CRF that sees a context retrieved for them (MoRe; Wang et al., 2022).

    `context` is the note that holds the context: `more.text_context`, `more.image_context`, or None for the
    baseline without one. `separator` is a word put between sentence and context. The context gets no tags, and is
    cut where both are too long. `text`, `scheme`, `types`, `dropout` and `constraints` are those of
    `mmkit.crf_tagger.v1`; `word_dropout` is the probability with which a word's state is zeroed in training.

    Loss `nll`: the negative log-likelihood of a sentence's tags, mean over sentences. With `two_views`, which needs
    the fuser `more.two_views.v1`, the sentence is also tagged without its context, and the losses are `nll` and
    `plain_nll`, half of each view's, and `agreement`, half the divergence KL(with ‖ without) of the tags' posteriors,
    softened by `temperature` (see `tag_agreement`). Their sum is the paper's loss.
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

    def examine(self, examples: Sequence[Example], *, annotated: bool = True) -> Iterable[Problem]:
        yield from super().examine(examples, annotated=annotated)
        if annotated:
            yield from self.contexts.problems(examples)

    def check(self, examples: Sequence[Example]) -> None:
        super().check(examples)
        self.contexts.check(examples)

    def views(self, example: Example) -> dict[str, TextView]:
        """`text`: the tokens with the context behind them; `plain`: the tokens alone."""
        return self.contexts.views(example, TextView.of(example))

    def emissions(self, states: States) -> tuple[Tensor, Tensor]:
        return super().emissions(self.word_dropout.tokens(states))

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
