"""Words to subwords: encodings that are cut to length, aligned with the example's tokens, cached and padded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tokenizers import Encoding, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from mmkit.data.types import TextView
from mmkit.errors import PartError

CACHE_SIZE = 1 << 17  # encodings of some 1 kB each

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One view as subwords; `words`, `first` and `markers` are the alignment of `mmkit.batch.Batch`."""

    ids: Ints
    types: Ints
    words: Ints
    first: Ints
    markers: Ints


class Subwords:
    """Encodes `TextView`s with special tokens, once each: encodings are kept by view.

    `max_length` counts subwords with special ones; None cuts nothing. The second text is cut first. A word for which
    the tokenizer gives no subwords (of zero-width characters, for example) becomes the unknown token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, max_length: int | None) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        add_prefix_space(self._backend)
        special = self._backend.num_special_tokens_to_add(is_pair=False)
        if max_length is not None and max_length <= special:
            raise PartError(
                f"max_length = {max_length} leaves no room beside {special} special tokens",
                code="encoder.max-length",
            )
        self._kept: dict[TextView, Encoded] = {}

    def encode(self, views: Sequence[TextView]) -> list[Encoded]:
        """The views' encodings; new ones are tokenised together."""
        kept = self._kept
        missing = [view for view in dict.fromkeys(views) if view not in kept]
        fresh = dict(zip(missing, self._tokenise(missing), strict=True)) if missing else {}
        found = [kept[view] if view in kept else fresh[view] for view in views]
        self._keep(fresh)
        return found

    def _keep(self, fresh: dict[TextView, Encoded]) -> None:
        self._kept.update(fresh)
        while len(self._kept) > CACHE_SIZE:  # the oldest are removed
            del self._kept[next(iter(self._kept))]

    def _tokenise(self, views: Sequence[TextView]) -> list[Encoded]:
        encodings = self._backend.encode_batch([_pretokenised(v) for v in views], is_pretokenized=True)
        return [self._align(view, encoding) for view, encoding in zip(views, encodings, strict=True)]

    def _align(self, view: TextView, encoding: Encoding) -> Encoded:
        words = np.array(
            [
                w if w is not None and s == 0 else -1
                for w, s in zip(encoding.word_ids, encoding.sequence_ids, strict=True)
            ],
            dtype=np.int64,
        )
        ids, types = np.array(encoding.ids, dtype=np.int64), np.array(encoding.type_ids, dtype=np.int64)
        silent = np.flatnonzero(np.bincount(words[words >= 0], minlength=len(view.words)) == 0)
        if silent.size:
            return self._again(view, words=_replaced(view.words, silent, self.tokenizer.unk_token or "?"))
        over = 0 if self.max_length is None else len(words) - self.max_length
        if over > 0:
            second = np.flatnonzero(np.array([s == 1 for s in encoding.sequence_ids]))
            if second.size and over >= second.size:
                return self._again(view, second=())
            end = second if second.size else np.flatnonzero(words >= 0)
            ids, types, words = np.delete([ids, types, words], end[end.size - over :], axis=1)
        return _aligned(view, ids, types, words)

    def _again(self, view: TextView, **changed: Any) -> Encoded:
        return self._tokenise([replace(view, **changed)])[0]

    def collate(self, encoded: Sequence[Encoded], width: int) -> dict[str, Tensor]:
        """Padded tensors of a batch; `width` is the number of tokens in its longest sentence."""
        lengths = np.array([len(e.ids) for e in encoded])
        longest = max(1, int(lengths.max()))  # a tokenizer without special tokens gives nothing for no words
        pad = self.tokenizer.pad_token_id or 0
        return {
            "input_ids": _padded((e.ids for e in encoded), len(encoded), longest, pad),
            "attention_mask": torch.from_numpy((np.arange(longest) < lengths[:, None]).astype(np.int64)),
            "token_type_ids": _padded((e.types for e in encoded), len(encoded), longest, 0),
            "word_index": _padded((e.words for e in encoded), len(encoded), longest, -1),
            "first_subword": _padded((e.first for e in encoded), len(encoded), width, -1),
            "marker_index": _padded(
                (e.markers for e in encoded), len(encoded), max(len(e.markers) for e in encoded), -1
            ),
        }


def add_prefix_space(backend: Any) -> None:
    """Make a byte-level tokenizer (such as RoBERTa's) see a space before each word, as in running text."""
    before = backend.pre_tokenizer
    parts: Any = before if isinstance(before, pre_tokenizers.Sequence) else [before]
    for part in parts:
        if isinstance(part, pre_tokenizers.ByteLevel):
            part.add_prefix_space = True


def _pretokenised(view: TextView) -> list[str] | tuple[list[str], list[str]]:
    return (list(view.words), list(view.second)) if view.second else list(view.words)


def _replaced(words: tuple[str, ...], at: Iterable[int], by: str) -> tuple[str, ...]:
    changed = list(words)
    for i in at:
        changed[i] = by
    return tuple(changed)


def _aligned(view: TextView, ids: Ints, types: Ints, words: Ints) -> Encoded:
    """Map the view's words to the example's tokens, and find where each token and marker begins."""
    starts = np.full(len(view.words), -1, dtype=np.int64)  # of each of the view's words
    real = np.flatnonzero(words >= 0)
    starts[words[real][::-1]] = real[::-1]  # reversed, so that a word's first subword is written last
    tokens = np.array(view.index, dtype=np.int64)
    first = np.full(int(tokens.max(initial=-1)) + 1, -1, dtype=np.int64)
    named = tokens >= 0
    first[tokens[named][::-1]] = starts[named][::-1]
    index = np.where(words >= 0, tokens[words] if tokens.size else -1, -1)
    return Encoded(ids, types, index, first, starts[list(view.markers)])


def _padded(rows: Iterable[Ints], count: int, width: int, fill: int) -> Tensor:
    """`[count, width]`, each row from the left."""
    out = np.full((count, width), fill, dtype=np.int64)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(out)
