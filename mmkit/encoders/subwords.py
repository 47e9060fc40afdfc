"""Words to subwords: encodings that are cut or split into windows, aligned with the example's tokens and padded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tokenizers import Encoding, pre_tokenizers
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from mmkit.data.types import TextView
from mmkit.encoders.windows import WINDOW, Rows, cut_windows, has_windows, positions, window_rows
from mmkit.errors import PartError

KEPT = 1 << 23
"""Subwords that are kept for the next epoch, each of about 40 bytes: 300 MB."""
OVERHEAD = 60
"""What an encoding needs beside its subwords, as so many subwords."""

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One view as subwords; `words`, `first` and `markers` are the alignment of `mmkit.batch.Batch`."""

    ids: Ints
    types: Ints
    words: Ints
    first: Ints
    markers: Ints
    cut: int = 0
    """Words of the view, and of its second text, of which nothing is read."""
    windows: Rows | None = None
    """How it is laid out in several rows for the network; None: in one."""


def _size(encoded: Encoded) -> int:
    return len(encoded.ids) + OVERHEAD


class Subwords:
    """Encodes `TextView`s with special tokens, once each: encodings are kept by view.

    `max_length` counts subwords with special ones; None cuts nothing. The second text is cut first. A word for which
    the tokenizer gives no subwords (of zero-width characters, for example) becomes the unknown token.

    With `overlap`, a text whose tokens do not fit is not cut. It is read in windows that share at least this number of
    subwords (see `mmkit.encoders.windows`). A context after its last token, or a second text, is then left out.

    With `drop_lone_spaces`, a subword that is only a space is left out where its word has others (see
    `lone_spaces`).
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        max_length: int | None,
        overlap: int | None = None,
        drop_lone_spaces: bool = False,
    ) -> None:
        self.tokenizer, self.max_length, self.overlap = tokenizer, max_length, overlap
        self._dropped = lone_spaces(tokenizer) if drop_lone_spaces else np.zeros(0, dtype=np.int64)
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
        if max_length is not None and overlap is not None and overlap >= max_length - special:
            raise PartError(
                f"window_overlap = {overlap}, but a window of max_length = {max_length} has room for "
                f"{max_length - special} subwords beside {special} special tokens",
                hint="a quarter of max_length is usual",
                code="encoder.windows",
            )
        self.room = KEPT
        """How many subwords are kept, of the newest views; see `OVERHEAD`."""
        self._kept: dict[TextView, Encoded] = {}
        self._used = 0

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
        self._used += sum(map(_size, fresh.values()))
        while self._used > self.room:  # the oldest are removed
            self._used -= _size(self._kept.pop(next(iter(self._kept))))

    def _tokenise(self, views: Sequence[TextView]) -> list[Encoded]:
        encodings = self._backend.encode_batch([_pretokenised(v) for v in views], is_pretokenized=True)
        return [self._align(view, encoding) for view, encoding in zip(views, encodings, strict=True)]

    def _align(self, view: TextView, encoding: Encoding) -> Encoded:
        every = np.array([-1 if w is None else w for w in encoding.word_ids], dtype=np.int64)
        text = np.array([-1 if s is None else s for s in encoding.sequence_ids], dtype=np.int64)
        ids, types = np.array(encoding.ids, dtype=np.int64), np.array(encoding.type_ids, dtype=np.int64)
        if self._dropped.size:
            lone = np.isin(ids, self._dropped) & _has_another(every, text)
            every, text, ids, types = (values[~lone] for values in (every, text, ids, types))
        words = np.where(text == 0, every, -1)
        silent = np.flatnonzero(np.bincount(words[words >= 0], minlength=len(view.words)) == 0)
        if silent.size:
            return self._again(view, words=_replaced(view.words, silent, self.tokenizer.unk_token or "?"))
        over = 0 if self.max_length is None else len(words) - self.max_length
        if over <= 0:
            return _aligned(view, ids, types, words)
        second = np.flatnonzero(text == 1)
        if second.size and over >= second.size:
            alone = self._again(view, second=())
            return replace(alone, cut=alone.cut + len(view.second))
        end = second if second.size else np.flatnonzero(words >= 0)
        gone = end[end.size - over :]
        if not second.size and self.overlap is not None and (needed := _needed(view, words)) >= gone[0]:
            return self._in_windows(view, ids, types, words, needed, self.overlap)
        cut = _lost(every, gone)
        ids, types, words = np.delete([ids, types, words], gone, axis=1)
        return replace(_aligned(view, ids, types, words), cut=cut)

    def _in_windows(
        self, view: TextView, ids: Ints, types: Ints, words: Ints, needed: int, overlap: int
    ) -> Encoded:
        """A text of which the subword at `needed` is the last that has to be read."""
        assert self.max_length is not None, "what is not limited fits"
        real = np.flatnonzero(words >= 0)
        gone = real[real > needed]
        cut = _lost(words, gone)
        room = self.max_length - (len(words) - real.size)
        ids, types, words = np.delete([ids, types, words], gone, axis=1)
        rows = window_rows(words, cut_windows(words[words >= 0], room, overlap))
        return replace(_aligned(view, ids, types, words), cut=cut, windows=rows)

    def _again(self, view: TextView, **changed: Any) -> Encoded:
        return self._tokenise([replace(view, **changed)])[0]

    def collate(self, encoded: Sequence[Encoded], width: int) -> dict[str, Tensor]:
        """Padded tensors of a batch; `width` is the number of tokens in its longest sentence.

        Where a text is in windows there are, beside the tensors of whole texts, those of a row a window:
        `window.input_ids [R, L]`, `window.attention_mask` and `window.token_type_ids`, the example each is of,
        `window.example [R]`, and where each state of the whole is, `window.position [B, T]`.
        """
        lengths = np.array([len(e.ids) for e in encoded])
        longest = max(1, int(lengths.max()))  # a tokenizer without special tokens gives nothing for no words
        pad = self.tokenizer.pad_token_id or 0
        inputs = {
            "input_ids": _padded((e.ids for e in encoded), len(encoded), longest, pad),
            "attention_mask": torch.from_numpy((np.arange(longest) < lengths[:, None]).astype(np.int64)),
            "token_type_ids": _padded((e.types for e in encoded), len(encoded), longest, 0),
            "word_index": _padded((e.words for e in encoded), len(encoded), longest, -1),
            "first_subword": _padded((e.first for e in encoded), len(encoded), width, -1),
            "marker_index": _padded(
                (e.markers for e in encoded), len(encoded), max(len(e.markers) for e in encoded), -1
            ),
        }
        if any(e.windows is not None for e in encoded):
            inputs |= self._windows(encoded, longest, pad)
        return inputs

    def lengthen(self, inputs: dict[str, Tensor], multiple: int) -> dict[str, Tensor]:
        """What `collate` gave, with lengths that are multiples of a number, but not beyond `max_length`.

        T and W (of `first_subword [B, W]`) are rounded up. W does not depend on T, so that views of the same words keep
        the same W. A batch with windows stays as it is.
        """
        if has_windows(inputs):
            return inputs
        longest, words = inputs["input_ids"].shape[1], inputs["first_subword"].shape[1]
        length = -(-longest // multiple) * multiple
        if self.max_length is not None:
            length = max(longest, min(length, self.max_length))
        width = -(-words // multiple) * multiple
        more, fills = length - longest, {"attention_mask": 0, "token_type_ids": 0, "word_index": -1}
        longer = {
            name: F.pad(inputs[name], (0, more), value=fill)
            for name, fill in {"input_ids": self.tokenizer.pad_token_id or 0, **fills}.items()
            if name in inputs
        }
        first = F.pad(inputs["first_subword"], (0, width - words), value=-1)
        return {**inputs, **longer, "first_subword": first}

    @staticmethod
    def _windows(encoded: Sequence[Encoded], longest: int, pad: int) -> dict[str, Tensor]:
        """The rows that the network reads of a batch, and where whole texts find their states in them."""
        ids: list[Ints] = []
        types: list[Ints] = []
        example: list[int] = []
        rows, columns = [], []
        for i, e in enumerate(encoded):
            of = e.windows or Rows.one(len(e.ids))
            rows.append(len(ids) + of.row)
            columns.append(of.column)
            ids += [e.ids[places] for places in of.places]
            types += [e.types[places] for places in of.places]
            example += [i] * len(of.places)
        lengths = np.array([len(row) for row in ids])
        width = max(1, int(lengths.max()))
        made = {
            "input_ids": _padded(ids, len(ids), width, pad),
            "attention_mask": torch.from_numpy((np.arange(width) < lengths[:, None]).astype(np.int64)),
            "token_type_ids": _padded(types, len(ids), width, 0),
            "example": torch.tensor(example),
            "position": positions(rows, columns, width, longest),
        }
        return {WINDOW + name: tensor for name, tensor in made.items()}


SPACES = ("▁", "Ġ")
"""How SentencePiece and byte-level tokenizers write a space."""


def lone_spaces(tokenizer: PreTrainedTokenizerFast) -> Ints:
    """The ids of subwords that are only a space.

    SentencePiece puts a space before each word, as in running text. In a language written without spaces, the text has
    none, and most words become two subwords: the space, which is the same for all of them, and the word itself.
    """
    known = tokenizer.get_vocab()
    return np.array([known[space] for space in SPACES if space in known], dtype=np.int64)


def _has_another(words: Ints, text: Ints) -> Any:
    """For each subword of a word of a text (each `[N]`), whether the next one belongs to the same word."""
    following = np.zeros(len(words), dtype=bool)
    following[:-1] = (words[1:] == words[:-1]) & (text[1:] == text[:-1]) & (words[:-1] >= 0)
    return following


def add_prefix_space(backend: Any) -> None:
    """Make a byte-level tokenizer (such as RoBERTa's) see a space before each word, as in running text."""
    before = backend.pre_tokenizer
    parts: Any = before if isinstance(before, pre_tokenizers.Sequence) else [before]
    for part in parts:
        if isinstance(part, pre_tokenizers.ByteLevel):
            part.add_prefix_space = True


def _lost(word: Ints, gone: Ints) -> int:
    """How many words have no subword left once those at `gone`, an end of the text, are cut off."""
    if not gone.size:
        return 0
    return len(np.unique(word[gone])) - bool(gone[0] and word[gone[0]] == word[gone[0] - 1])


def _needed(view: TextView, words: Ints) -> int:
    """The last subword that belongs to a token of the example, or to a marker; behind it there is only context."""
    own = np.array(view.index) >= 0
    own[list(view.markers)] = True
    needed = np.flatnonzero((words >= 0) & own[words])
    return int(needed[-1]) if needed.size else -1


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
