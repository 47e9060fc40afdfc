"""A stand-in for text encoder and fuser: alignments and random states for given subword counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from mmkit.batch import Features, States

WIDTH = 8


@pytest.fixture
def text_inputs() -> Callable[..., Features]:
    """What a text encoder's `collate` gives where word w of sentence b has `pieces[b][w]` subwords.

    [CLS] and [SEP] stand around each sentence, which is cut to `limit` subwords with them.
    """

    def inputs_of(pieces: Sequence[Sequence[int]], limit: int = 99) -> Features:
        rows = [[w for w, n in enumerate(sentence) for _ in range(n)][: limit - 2] for sentence in pieces]
        T, W = max(len(row) for row in rows) + 2, max(len(sentence) for sentence in pieces)
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

    return inputs_of


@pytest.fixture
def text_states() -> Callable[..., States]:
    """Random states of the subwords of such inputs, `WIDTH` wide."""

    def states_of(inputs: Features, seed: int = 0) -> States:
        draw = torch.Generator().manual_seed(seed)
        tokens = torch.randn(*inputs["attention_mask"].shape, WIDTH, generator=draw)
        return States.of_text({"tokens": tokens, "mask": inputs["attention_mask"].bool()}, inputs)

    return states_of
