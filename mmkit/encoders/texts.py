"""What encoders of plain texts share: slots, keys, tokens, and batches no longer than their longest text."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Hashable
from typing import Any, ClassVar, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from mmkit.batch import Features
from mmkit.data.types import Entity, Example
from mmkit.encoders.base import BLANK, ItemEncoder
from mmkit.encoders.sources import check_source, texts_of
from mmkit.errors import DataError, PartError


class PlainTextEncoder(ItemEncoder):
    """An encoder of a record's first `slots` texts under a `source` (see `sources.texts_of`), one vector a text.

    Texts are tokenised as they stand, cut to the length that `set_tokenizer` was given. Texts that a record
    lacks are zeros. Subclasses say what the backbone makes of tokens.

    Features: `pooled [B, n, D]` and `mask [B, n]`; n is the most texts of a record in the batch, at least 1.
    """

    drops_blanks: ClassVar[bool] = True

    def __init__(
        self,
        source: str | None,
        *,
        slots: int = 1,
        frozen: bool = True,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
    ) -> None:
        super().__init__(feature_dtype)
        if source is not None:
            check_source(source)
        if slots < 1:
            raise PartError(f"slots = {slots}, but an encoder reads at least one text")
        self.source, self.slots, self.frozen, self.store = source, slots, frozen, store

    @abstractmethod
    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector a text `[N, D]` from tokens `[N, L]`, int64; the mask is 1 where a token is real."""

    def set_tokenizer(self, tokenizer: PreTrainedTokenizerFast, max_length: int) -> None:
        """Tokenise with `cutting(tokenizer, max_length)`."""
        self._width = max_length
        self._tokenizer = cutting(tokenizer, max_length)
        self._pad = tokenizer.pad_token_id or 0

    def check_reads(self, kind: type[Example] | type[Entity]) -> None:
        if self.source is not None:
            check_source(self.source, kind)

    def identity(self, x: Example | Entity) -> Hashable:
        return self._texts(x)

    def _texts(self, x: Example | Entity) -> tuple[str, ...]:
        assert self.source is not None
        return tuple(texts_of(x, self.source)[: self.slots])

    def items(self, x: Example | Entity) -> list[tuple[str, Any]]:
        """A hash of each text, and the text. Raises `DataError` for a source that such a record has not."""
        texts = self._texts(x)
        return [(text_key(text), text) for text in texts] + [(BLANK, "")] * (self.slots - len(texts))

    def choice(self) -> Any:
        return {"source": self.source, "slots": self.slots}

    def blank(self) -> str:
        return ""

    def load(self, raw: str) -> Tensor:
        """Token ids and mask `[2, L]`, zero where padded; L is the most tokens of a text."""
        ids = token_ids(self._tokenizer, raw)
        item = torch.zeros(2, self._width, dtype=torch.long)
        item[0, : len(ids)] = torch.tensor(ids)
        item[1, : len(ids)] = 1
        return item

    def cost(self, raw: str) -> int:
        return len(raw)

    def trimmed(self, stack: Tensor) -> Tensor:
        """`[N, 2, L]`, L being the longest text's tokens."""
        return stack[..., : int(stack[:, 1].sum(-1).max())]

    def network(self, stack: Tensor) -> Features:
        ids, mask = stack.long().unbind(1)
        return {"pooled": self.pooled(ids.masked_fill(mask == 0, self._pad), mask)}

    def describe(self) -> dict[str, Any]:
        return {"tokenizer": text_key(self._tokenizer.to_str())}


def cutting(tokenizer: PreTrainedTokenizerFast, max_length: int) -> Tokenizer:
    """A copy of a tokenizer, whose state others may change, that cuts texts; special tokens count.

    Raises `PartError` if `max_length` leaves no room for anything else.
    """
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    special = copy.num_special_tokens_to_add(is_pair=False)
    if max_length <= special:
        raise PartError(f"max_length = {max_length} leaves no room beside {special} special tokens")
    copy.no_padding()
    copy.enable_truncation(max_length)
    return copy


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """A text's tokens. Raises `DataError` if it is no valid Unicode."""
    try:
        return tokenizer.encode(text).ids
    except (TypeError, UnicodeEncodeError) as error:
        raise DataError(f"this is no valid Unicode: {text[:40]!a}", hint="give texts in UTF-8") from error


def text_key(text: str) -> str:
    """A hash of a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
