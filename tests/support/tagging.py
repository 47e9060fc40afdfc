"""Sentences, alignments and states for tests of taggers, without an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

from mmkit.batch import Features, States
from mmkit.data.types import Example, Span
from mmkit.decoders.tagger import Tagger

WIDTH = 8


def sentence(id: str, length: int, *spans: Span) -> Example:
    return Example.from_tokens(id, [f"w{i}" for i in range(length)], spans=spans)


EXAMPLES = [
    sentence("a", 4, Span(0, 2, "PER"), Span(3, 4, "LOC")),
    sentence("b", 2, Span(1, 2, "ORG")),
    sentence("c", 1),
]
PIECES = [[1, 3, 1, 2], [2, 1], [1]]
"""Of each word of `EXAMPLES`, how many subwords it has."""


def text_inputs(pieces: Sequence[Sequence[int]], limit: int = 99) -> Features:
    """What a text encoder's `collate` gives where word w of sentence b has `pieces[b][w]` subwords.

    [CLS] and [SEP] stand around each sentence, which is cut to `limit` subwords with them.
    """
    rows = [[w for w, n in enumerate(words) for _ in range(n)][: limit - 2] for words in pieces]
    T, W = max(len(row) for row in rows) + 2, max(len(words) for words in pieces)
    inputs = {
        "word_index": torch.full((len(rows), T), -1),
        "first_subword": torch.full((len(rows), W), -1),
        "attention_mask": torch.zeros(len(rows), T, dtype=torch.long),
    }
    for b, row in enumerate(rows):
        inputs["word_index"][b, 1 : len(row) + 1] = torch.tensor(row, dtype=torch.long)
        inputs["attention_mask"][b, : len(row) + 2] = 1
        for w in set(row):
            inputs["first_subword"][b, w] = row.index(w) + 1
    return inputs


def text_states(inputs: Features, seed: int = 0) -> States:
    """Random states of the subwords of such inputs, `WIDTH` wide."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randn(*inputs["attention_mask"].shape, WIDTH, generator=draw)
    return States.of_text({"tokens": tokens, "mask": inputs["attention_mask"].bool()}, inputs)


AnyTagger = TypeVar("AnyTagger", bound=Tagger)


def built(tagger: AnyTagger, examples: Sequence[Example] = EXAMPLES) -> AnyTagger:
    """The tagger with first weights from a fixed seed and the labels of `examples`, in evaluation mode."""
    torch.manual_seed(0)
    tagger.build({"tokens": WIDTH}, tagger.fit(examples))
    return tagger.eval()


def force(tagger: Tagger, states: States, tags: Sequence[Sequence[str]]) -> States:
    """States whose emissions are +20 at the given tag of each position and 0 elsewhere (needs K <= WIDTH)."""
    K = len(tagger.tags)
    tagger.linear.weight.data = torch.eye(K, WIDTH) * 20
    tagger.linear.bias.data.zero_()
    tokens = torch.zeros_like(states["tokens"])
    for b, row in enumerate(tags):
        for t, name in enumerate(row):
            tokens[b, t, tagger.tags.ids[name]] = 1
    return States({**states.tensors, "tokens": tokens})
