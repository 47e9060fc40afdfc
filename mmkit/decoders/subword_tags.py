"""Tags of every subword, not only of words: a base for taggers that also learn from later subwords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mmkit.batch import Features, States
from mmkit.decoders.tagger import Tagger, at_least_one, at_positions
from mmkit.decoders.tagging import Ids, TagSet

PAD, X, CLS, SEP = "[PAD]", "X", "[CLS]", "[SEP]"
"""Tags of subwords that are not the first of a word, with the names of the field's released code."""


class SubwordTags(Tagger):
    """Tags every subword. List it before the class that scores tags: `class Mine(SubwordTags, CrfTagger)`.

    The later subwords of a word have the tag X, the special tokens around the text [CLS] and [SEP], a second text X;
    [PAD] is tag 0 and never occurs. Spans are read from the first subwords. The scores are not of words, so other
    models cannot use them.
    """

    subwords: ClassVar[str] = "tagged"
    score_names: frozenset[str] = frozenset()

    def tag_set(self, types: Sequence[str]) -> TagSet:
        return TagSet(types, self.scheme, before=[PAD], after=[X, CLS, SEP])

    def position_tags(self, words: Ids, alignment: Features) -> Tensor:
        """The tag of every subword `[B, T]`, from those of words `[B, W]`."""
        first, word_index = alignment["first_subword"].numpy(), alignment["word_index"].numpy()
        mask = alignment["attention_mask"].bool().numpy()
        tags = np.where(mask, self.tags.ids[X], self.tags.ids[PAD])
        row, word = np.nonzero(first >= 0)
        tags[row, first[row, word]] = words[row, word]
        rows, last = np.arange(len(tags)), mask.sum(1) - 1
        for position, tag in ((np.zeros_like(last), CLS), (last, SEP)):
            special = word_index[rows, position] < 0
            tags[rows[special], position[special]] = self.tags.ids[tag]
        return torch.from_numpy(tags)

    def emissions(self, states: States) -> tuple[Tensor, Tensor]:
        """Tag scores of subwords and their mask: `[B, T, K]`, `[B, T]`."""
        return self.linear(self.dropout(states["tokens"])), states["mask"].bool()

    def of_words(self, tags: Tensor, log_probs: Tensor, states: States) -> tuple[Tensor, Tensor]:
        first = at_least_one(states["first_subword"])
        words = at_positions(tags.unsqueeze(2), first).squeeze(2).masked_fill(first < 0, -1)
        return words, at_positions(log_probs.unsqueeze(2), first).squeeze(2)
