"""Plain texts as items: slots, keys, tokens, and batches as long as their longest text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast

from mmkit.batch import Features
from mmkit.data.types import Entity, Example
from mmkit.encoders.cut import Cut, cut_at, limit_of
from mmkit.encoders.items import BLANK, ItemSource, MissingImages
from mmkit.encoders.sources import check_source, cut_source, texts_of
from mmkit.errors import DataError, PartError


class Texts(ItemSource[str, Tensor]):
    """A record's first `slots` texts under a `source` (see `sources.texts_of`), tokenised unchanged.

    Missing texts are left out. The encoder's `build` calls `set_tokenizer` to say how texts are tokenised.
    """

    drops_blanks = True

    def __init__(self, source: str, slots: int = 1) -> None:
        check_source(source)
        if slots < 1:
            raise PartError(f"slots = {slots}, but an encoder reads at least one text", code="part.setting")
        self.source, self.slots = source, slots
        self._tokenizer: Tokenizer | None = None
        self._pad = 0

    def set_tokenizer(self, tokenizer: PreTrainedTokenizerFast, max_length: int) -> None:
        """Tokenise with `cutting(tokenizer, max_length)`."""
        self._tokenizer = cutting(tokenizer, max_length)
        pad: Any = tokenizer.pad_token_id
        self._pad = pad or 0

    def items(self, x: Example | Entity, missing: MissingImages) -> list[tuple[str, str]]:
        """A hash of each text, and the text. Raises `DataError` for a source that such a record does not have."""
        texts = self.identity(x)
        return [(text_key(text), text) for text in texts] + [(BLANK, "")] * (self.slots - len(texts))

    def identity(self, x: Example | Entity) -> tuple[str, ...]:
        """The texts."""
        return tuple(texts_of(x, self.source)[: self.slots])

    def choice(self) -> Any:
        return {"source": self.source, "slots": self.slots}

    def cut(self, x: Example) -> Cut | None:
        """What is not read of the texts."""
        tokenizer = self._ready()
        found = [at for text in self.identity(x) if (at := cut_at(tokenizer, text)) is not None]
        return cut_source(x, self.source, found[0], limit_of(tokenizer)) if found else None

    def too_long(self, x: Example | Entity) -> bool:
        tokenizer = self._ready()
        return any(cut_at(tokenizer, text) is not None for text in self.identity(x))

    def check_reads(self, kind: type[Example] | type[Entity]) -> None:
        check_source(self.source, kind)

    def blank(self) -> str:
        return ""

    def load(self, raw: str) -> Tensor:
        """Token ids `[L]`, int32: those of all entities may be kept in memory."""
        return torch.tensor(token_ids(self._ready(), raw), dtype=torch.int32)

    def stack(self, loaded: Sequence[Tensor]) -> Features:
        """`input_ids` and `attention_mask [N, L]`, int64; L is the length of the longest text."""
        return padded(loaded, self._pad)

    def cost(self, raw: str) -> int:
        return len(raw)

    def describe(self) -> dict[str, Any]:
        return {"tokenizer": text_key(self._ready().to_str())}

    def _ready(self) -> Tokenizer:
        if self._tokenizer is None:
            raise RuntimeError("the encoder's `build` must call `set_tokenizer` of its source of texts")
        return self._tokenizer


def padded(ids: Sequence[Tensor], pad: int) -> Features:
    """Token ids `[L]` of N texts as `input_ids` and `attention_mask` `[N, L]`, int64, L at least 1."""
    if not any(map(len, ids)):  # a tokenizer without special tokens gives nothing for an empty text
        return {
            "input_ids": torch.full((len(ids), 1), pad),
            "attention_mask": torch.zeros(len(ids), 1, dtype=torch.long),
        }
    return {
        "input_ids": pad_sequence([i.long() for i in ids], batch_first=True, padding_value=pad),
        "attention_mask": pad_sequence([torch.ones(len(i), dtype=torch.long) for i in ids], batch_first=True),
    }


def cutting(tokenizer: PreTrainedTokenizerFast, max_length: int) -> Tokenizer:
    """A copy of a tokenizer that cuts texts (others may change the state of the original); special tokens count.

    Raises `PartError` if `max_length` leaves no room for anything else.
    """
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    special = copy.num_special_tokens_to_add(is_pair=False)
    if max_length <= special:
        raise PartError(
            f"max_length = {max_length} leaves no room beside {special} special tokens",
            code="encoder.max-length",
        )
    copy.no_padding()
    copy.enable_truncation(max_length)
    return copy


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """A text's tokens. Raises `DataError` if it is not valid Unicode."""
    try:
        return tokenizer.encode(text).ids
    except (TypeError, UnicodeEncodeError) as error:
        raise DataError(
            f"this is not valid Unicode: {text[:40]!a}", hint="give texts in UTF-8", code="input.not-unicode"
        ) from error


def text_key(text: str) -> str:
    """A hash of a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def __getattr__(name: str) -> Any:
    if name == "PlainTextEncoder":
        raise ImportError(
            "mmkit.encoders.texts.PlainTextEncoder is gone: derive from mmkit.encoders.item_encoder.ItemEncoder "
            "and give it source = Texts(source, slots); docs/plugins.md (Encoders of items) shows how"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
