"""`check_encoder`, `check_fuser` and `check_decoder`: they pass parts of the core, and notice what is broken."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mmkit.batch import States
from mmkit.data.types import Relation, Span
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.softmax_tagger import SoftmaxTagger
from mmkit.fusers.concat import Concat
from mmkit.testing import ImageEncoder, WordEncoder, check_decoder, check_encoder, check_fuser


@pytest.mark.parametrize("name", ["mmkit.text_only.v1", "mmkit.concat.v1"])
def test_fusers_pass(name: str) -> None:
    check_fuser(name)


def test_a_fuser_may_be_given_unbuilt() -> None:
    check_fuser(Concat(vision="photo", hidden=4))


@pytest.mark.parametrize(
    "name", ["mmkit.crf_tagger.v1", "mmkit.softmax_tagger.v1", "mmkit.pair_classifier.v1"]
)
def test_decoders_pass(name: str) -> None:
    check_decoder(name)


@pytest.mark.parametrize("encoder", [WordEncoder(), ImageEncoder(), ImageEncoder(slots=3, frozen=True)])
def test_stand_ins_pass(encoder: WordEncoder | ImageEncoder, tmp_path: Path) -> None:
    check_encoder(encoder, folder=tmp_path)


def test_an_encoder_of_a_name_has_its_sample_s_weights(tmp_path: Path) -> None:
    check_encoder("mmkit.timm.v1", {"name": "resnet18"}, folder=tmp_path)


class Promises(Concat):
    provides = Concat.provides | {"query"}


class Wide(Concat):
    def build(self, encoders):
        super().build(encoders)
        self.dims = {"tokens": 7}


class Noisy(Concat):
    def forward(self, encoders, batch):
        states = super().forward(encoders, batch)
        states.tensors["tokens"] = nn.functional.dropout(states["tokens"], 0.5)
        return states


class Untrained(Concat):
    def build(self, encoders):
        super().build(encoders)
        self.unused = nn.Linear(2, 2)


class Cut(Concat):
    """Pictures reach it without their gradient."""

    def forward(self, encoders, batch):
        vision = lambda inputs: {k: v.detach() for k, v in encoders[self.vision](inputs).items()}  # noqa: E731
        return super().forward({**encoders, self.vision: vision}, batch)


class Leaky(Concat):
    """Padding goes into the mean of the tokens."""

    def forward(self, encoders, batch):
        states = super().forward(encoders, batch)
        mean = states["tokens"].mean(1)
        return States({**states.tensors, "pooled": mean})


class ReadsBlanks(Concat):
    def forward(self, encoders, batch):
        states = super().forward(encoders, batch)
        photo = encoders[self.vision](batch.inputs[self.vision])["pooled"].sum((1, 2))
        return States({**states.tensors, "pooled": states["pooled"] + photo[:, None]})


class Coarse(Concat):
    def forward(self, encoders, batch):
        states = super().forward(encoders, batch)
        if torch.is_autocast_enabled("cpu"):
            states.tensors["pooled"] = states["pooled"] * 2
        return states


class Forgetful(Concat):
    """Part of what it computes with is no weight."""

    def build(self, encoders):
        super().build(encoders)
        self.shift = torch.randn(self.dims["tokens"])

    def forward(self, encoders, batch):
        states = super().forward(encoders, batch)
        states.tensors["tokens"] = states["tokens"] + self.shift
        return states


class Waiting(Concat):
    captures = True

    def forward(self, encoders, batch):
        states = super().forward(encoders, batch)
        return states if states["mask"].any() else States({})


class Counting(Concat):
    """In training it warms up, by a number that Python knows."""

    captures = True
    calls = 0

    def forward(self, encoders, batch):
        states = super().forward(encoders, batch)
        self.calls += self.training
        warm = min(1, self.calls / 9) if self.training else 1
        return States({**states.tensors, "pooled": states["pooled"] * warm})


class Peeking(Concat):
    captures = True

    def forward(self, encoders, batch):
        states = super().forward(encoders, batch)
        return States({**states.tensors, "pooled": states["pooled"] * len(batch.examples[0].tokens)})


@pytest.mark.parametrize(
    ("fuser", "said"),
    [
        (Promises(), "Promises: provides: it promises query but gives"),
        (Wide(), "Wide: dims: tokens is 144 wide, dims says 7"),
        (Noisy(), "Noisy: evaluation mode: tokens differs by .* when asked twice"),
        (Untrained(), "Untrained: gradients: none reaches unused.weight, unused.bias"),
        (Cut(), "Cut: gradients: none reaches the encoder 'vision'"),
        (Leaky(), "Leaky: padding: pooled differs by .* when example-0 stands beside longer examples"),
        (ReadsBlanks(), "ReadsBlanks: blank images: pooled differs .* the encoder 'vision' has no image"),
        (Coarse(), "Coarse: bfloat16: pooled differs from float32 by"),
        (Waiting(), "Waiting: captures: it is True, but RuntimeError: .* waits for the device"),
        (Counting(), "Counting: captures: pooled differs .* when it is repeated for another batch"),
        (Peeking(), "Peeking: captures: it is True, but IndexError"),
        (Forgetful(), "Forgetful: saved weights: tokens differs by .* after weights were loaded"),
    ],
)
def test_broken_fusers_are_noticed(fuser: Concat, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_fuser(fuser)


class Dim(WordEncoder):
    def build(self, special_tokens=(), saved=None):
        super().build(special_tokens, saved)
        self.dim += 1

    def forward(self, inputs, prefix=None):
        self.dim -= 1
        try:
            return super().forward(inputs, prefix)
        finally:
            self.dim += 1


class NoMask(WordEncoder):
    def forward(self, inputs, prefix=None):
        features = super().forward(inputs, prefix)
        return {**features, "mask": features["mask"].long()}


class Lacks(WordEncoder):
    def forward(self, inputs, prefix=None):
        features = super().forward(inputs, prefix)
        return {k: v for k, v in features.items() if k != "pooled"}


class Unmasked(WordEncoder):
    def forward(self, inputs, prefix=None):
        features = super().forward(inputs, prefix)
        return {**features, "pooled": features["tokens"].mean(1)}


class Thaws(ImageEncoder):
    def train(self, mode=True):
        return nn.Module.train(self, mode)


class Unsaved(ImageEncoder):
    """A scale that `save` does not write."""

    def build(self, special_tokens=(), saved=None):
        super().build(special_tokens, saved)
        self.scale = 1.0 if saved else 2.0

    def forward(self, inputs):
        features = super().forward(inputs)
        return {**features, "pooled": features["pooled"] * self.scale}


class Idle(ImageEncoder):
    def build(self, special_tokens=(), saved=None):
        super().build(special_tokens, saved)
        self.unused = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        (Dim(), "Dim: dim: pooled is 16 wide, dim says 17"),
        (NoMask(), "NoMask: mask: it is of torch.int64, not of booleans"),
        (Lacks(), "Lacks: provides: it promises pooled but gives mask, tokens"),
        (Unmasked(), "Unmasked: padding: pooled differs"),
        (Thaws(frozen=True), "Thaws: frozen: a frozen encoder must stay in evaluation mode"),
        (Unsaved(), "Unsaved: saved encoder: pooled differs"),
        (Idle(), "Idle: gradients: none reaches unused.weight"),
    ],
)
def test_broken_encoders_are_noticed(encoder: WordEncoder | ImageEncoder, said: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        check_encoder(encoder, folder=tmp_path)


class Summed(SoftmaxTagger):
    def loss(self, states, targets):
        return {name: value * len(targets["tags"]) for name, value in super().loss(states, targets).items()}


class Headless(SoftmaxTagger):
    def build(self, dims, labels, entities=()):
        super().build(dims, labels, entities)
        self.second = nn.Linear(dims["tokens"], 1)


class Vector(SoftmaxTagger):
    def loss(self, states, targets):
        return {name: value[None] for name, value in super().loss(states, targets).items()}


class Objects(SoftmaxTagger):
    def fit(self, examples):
        return {**super().fit(examples), "set": {1}}


class Uphill(SoftmaxTagger):
    """Its gradient points the wrong way."""

    def loss(self, states, targets):
        return {name: 2 * value.detach() - value for name, value in super().loss(states, targets).items()}


class Relating(SoftmaxTagger):
    """Predicts relations, for which its task has no place."""

    def decode(self, states, batch):
        pair = (Relation(Span(0, 1, "PER"), Span(1, 2, "LOC"), "in"),)
        return [replace(p, relations=pair, relation_scores=(1.0,)) for p in super().decode(states, batch)]


class Shuffled(SoftmaxTagger):
    def decode(self, states, batch):
        return super().decode(states, batch)[::-1]


class Unscored(SoftmaxTagger):
    def decode(self, states, batch):
        return [replace(p, span_scores=p.span_scores[1:]) for p in super().decode(states, batch)]


class Contextual(CrfTagger):
    """Words see the mean of all positions, padding too."""

    def emissions(self, states):
        emissions, mask = super().emissions(states)
        return emissions + 3 * torch.tanh(states["tokens"].mean((1, 2)))[:, None, None].expand_as(
            emissions
        ) * torch.arange(emissions.shape[2]), mask


class Random(SoftmaxTagger):
    """A shift of its scores that is no weight."""

    def build(self, dims, labels, entities=()):
        super().build(dims, labels, entities)
        self.shift = 5 * torch.randn(len(self.tags))

    def emissions(self, states):
        emissions, mask = super().emissions(states)
        return emissions + self.shift, mask


@pytest.mark.parametrize(
    ("decoder", "said"),
    [
        (Summed(), "Summed: loss is a mean: "),
        (Headless(), "Headless: gradients: none reaches second.weight, second.bias"),
        (Vector(), "Vector: loss: cross_entropy is [1], not a scalar"),
        (Objects(), "Objects: fit: the labels are not JSON"),
        (Uphill(), "Uphill: the loss falls: it was"),
        (Relating(), "Relating: predictions: that of example-0 has no answer"),
        (Shuffled(), "Shuffled: predictions: they are for ['example-3'"),
        (Unscored(), "Unscored: scores: example-0 has 2 spans but 1 scores"),
        (Contextual(), "Contextual: padding: "),
        (Random(), "Random: saved weights: "),
    ],
)
def test_broken_decoders_are_noticed(decoder: SoftmaxTagger | CrfTagger, said: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        check_decoder(decoder)


def test_what_no_stand_in_gives_is_asked_for() -> None:
    with pytest.raises(ValueError, match="needs a knowledge base"):
        check_decoder("mmkit.entity_matcher.v1", {"entities": "entity"})
