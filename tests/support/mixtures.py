"""Mixtures of experts that fit together, and what stands in for trained runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from linking import Given
from mmkit.batch import Batch, Features, States
from mmkit.data.types import Example, Relation, Span
from mmkit.decoders.base import Decoder
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.pair_classifier import PairClassifier
from mmkit.testing import WordEncoder
from mmkit_more.mixture import Mixture
from mmkit_more.mixture_classifier import MixtureClassifier
from mmkit_more.mixture_tagger import MixtureTagger

DIM = 6
NAMES = ("text", "image", "both")

SENTENCES = [
    Example.from_tokens("a", ["w"] * 3, spans=[Span(0, 2, "PER")]),
    Example.from_tokens("b", ["w"] * 2, spans=[Span(1, 2, "LOC")]),
    Example.from_tokens("c", []),
    Example.from_tokens("d", ["w"], spans=[Span(0, 1, "PER")]),
]
PAIRS = [
    Example.from_tokens("p", ["w"] * 4, relations=[Relation(Span(0, 1, "X"), Span(2, 3, "X"), label)])
    for label in ("None", "in", "by", "in")
]


class Expert(Given):
    """A trained run, as a mixture sees it: features that are given, and a decoder."""

    provides = frozenset({"pooled", "mask"})

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(DIM)
        self.decoder = decoder

    def scoring_decoder(self) -> Decoder:
        return self.decoder


class Run(WordEncoder):
    """A tiny trained run that reads examples, as `mmkit.run.v1` does: its pooled states, and its decoder's scores."""

    provides = frozenset({"pooled"})

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None: ...

    def scoring_decoder(self) -> Decoder:
        return self.decoder

    def collate(self, examples: Any, views: Any) -> Features:
        """The texts as the run's own decoder reads them."""
        return super().collate(examples, [self.decoder.views(example) for example in examples])

    def forward(self, inputs: Features, prefix: Any = None) -> Features:
        features = super().forward(inputs)
        scores = self.decoder.scores(States.of_text(features, inputs))
        return {name: x.unsqueeze(1) for name, x in {"pooled": features["pooled"], **scores}.items()}


def expert_of(decoder: Decoder, examples: list[Example], seed: int = 0) -> Run:
    """A run with this decoder, which learns its labels from the examples, and random weights."""
    torch.manual_seed(seed)
    run = Run(decoder)
    WordEncoder.build(run)
    decoder.build({"tokens": run.dim, "pooled": run.dim}, decoder.fit(examples))
    return run


def tagger(seed: int, examples=SENTENCES, kind=CrfTagger, **settings) -> Expert:
    torch.manual_seed(seed)
    decoder = kind(**settings)
    decoder.build({"tokens": DIM}, decoder.fit(examples))
    for parameter in decoder.parameters():
        nn.init.normal_(parameter)
    return Expert(decoder)


def classifier(seed: int, examples=PAIRS, kind=PairClassifier, **settings) -> Expert:
    torch.manual_seed(seed)
    decoder = kind(**settings)
    decoder.build({"tokens": DIM}, decoder.fit(examples))
    return Expert(decoder)


def tagged(seed: int, lengths: list[int], tags: int) -> Features:
    """What a run gives of sentences of which it read so many words."""
    torch.manual_seed(seed)
    width = max(lengths)
    beyond = torch.arange(width) >= torch.tensor(lengths).unsqueeze(1)
    emissions = (2 * torch.randn(len(lengths), width, tags)).masked_fill(beyond.unsqueeze(2), 0.0)
    features = {"pooled": torch.randn(len(lengths), DIM), "lengths": torch.tensor(lengths)}
    return {name: tensor.unsqueeze(1) for name, tensor in {**features, "emissions": emissions}.items()}


def classified(seed: int, size: int = len(PAIRS), relations: int = 3) -> Features:
    torch.manual_seed(seed)
    return {"pooled": torch.randn(size, 1, DIM), "logits": 2 * torch.randn(size, 1, relations)}


def fuser_of(encoders: dict[str, Expert], hidden: int = 0, start: bool = False) -> Mixture:
    torch.manual_seed(9)
    fuser = Mixture(tuple(encoders), hidden=hidden)
    fuser.build(encoders)
    if not start:
        for parameter in fuser.parameters():
            nn.init.normal_(parameter)
    return fuser


def tagging(experts: int = 2, lengths: list[list[int]] | None = None, n_best: int = 10, **fuser):
    """A mixture of taggers that fits together, and a batch of `SENTENCES`."""
    lengths = lengths or [[3, 2, 0, 1]] * experts
    encoders = {name: tagger(i) for i, name in enumerate(NAMES[:experts])}
    decoder = MixtureTagger(tuple(encoders), n_best=n_best)
    decoder.build({}, decoder.fit(SENTENCES))
    decoder.connect(encoders)
    inputs = {
        name: tagged(i, own, len(decoder.tags))
        for i, (name, own) in enumerate(zip(encoders, lengths, strict=True))
    }
    batch = Batch(tuple(SENTENCES), inputs, decoder.targets(SENTENCES, inputs))
    return encoders, fuser_of(encoders, **fuser), decoder, batch


def classifying(experts: int = 2):
    encoders = {name: classifier(i) for i, name in enumerate(NAMES[:experts])}
    decoder = MixtureClassifier(tuple(encoders))
    decoder.build({}, decoder.fit(PAIRS))
    decoder.connect(encoders)
    inputs = {name: classified(i) for i, name in enumerate(encoders)}
    return encoders, fuser_of(encoders), decoder, Batch(tuple(PAIRS), inputs, decoder.targets(PAIRS, inputs))
