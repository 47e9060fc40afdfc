"""Tagging a context's words along with the sentence, all of them as outside of every span."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmkit.batch import States
from mmkit.data.types import ORPHANS, Example, Prediction, TextView
from mmkit.decoders.tagger import at_least_one

CONTEXT_SPANS = "more.context_spans"
"""Note key of a prediction: how many spans were predicted that reach into the context. They are not predicted spans."""


def with_context_marked(view: TextView, sentence: TextView) -> TextView:
    """`view`, whose words after those of `sentence` are markers: the encoder says where each of them begins."""
    return replace(view, markers=(*view.markers, *range(len(sentence.words), len(view.words))))


def in_one_row(first: Tensor, context: Tensor, values: Tensor | None = None) -> Tensor:
    """The words of sentence and context in one row, without gaps: `[B, W + M]`.

    `first [B, W]` and `context [B, M]` are positions of words' first subwords, -1 where there is none (cut off, or
    padding). The result has the positions that exist in their order, then -1. If `values [B, W + M]` of the words are
    given, it has these, in the same order.
    """
    positions = torch.cat([first, context], dim=1)
    order = (positions < 0).to(torch.int8).argsort(dim=1, stable=True)
    return (positions if values is None else values).gather(1, order)


def with_context_words(states: States) -> States:
    """States in which the context's words are words like those of the sentence, behind them."""
    words = in_one_row(at_least_one(states["first_subword"]), states["marker_index"])
    return States({**states.tensors, "first_subword": words}, states.losses)


def within(examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[Prediction]:
    """Predictions with the spans that end in the sentence; the others are counted in the note `CONTEXT_SPANS`.

    A context is read only if its whole sentence is, so the sentence's words are the first of a row.
    """
    return [_within(len(x.tokens), p) for x, p in zip(examples, predictions, strict=True)]


def _within(length: int, prediction: Prediction) -> Prediction:
    kept = [i for i, span in enumerate(prediction.spans) if span.end <= length]
    if len(kept) == len(prediction.spans):
        return prediction
    notes = {**prediction.notes, CONTEXT_SPANS: len(prediction.spans) - len(kept)}
    orphans = [bounds for bounds in notes.pop(ORPHANS, []) if bounds[1] <= length]
    return replace(
        prediction,
        spans=tuple(prediction.spans[i] for i in kept),
        span_scores=tuple(prediction.span_scores[i] for i in kept),
        notes={**notes, ORPHANS: orphans} if orphans else notes,
    )
