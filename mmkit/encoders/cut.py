"""What an encoder does not read of an example, because a text is longer than the encoder's limit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from mmkit.data.types import Example


@dataclass(frozen=True, slots=True)
class Cut:
    """What is not read of an example's texts."""

    limit: int
    """How many subwords the encoder reads at most, special ones included."""
    token: int | None = None
    """The first of the sentence's tokens that is not read; None: all of them are."""
    mention: bool = False
    """Whether words of the mention are not read."""
    context: bool = False
    """Whether the end of a further text (a retrieved context, a note) is not read."""
    words: bool = False
    """Whether the encoder gives the states of words, so that nothing can be found in words that are not read."""

    def noted(self, encoder: str) -> dict[str, Any]:
        """As it stands in the note `mmkit.data.types.CUT` of a prediction."""
        told: dict[str, Any] = {"encoder": encoder, "limit": self.limit}
        if self.token is not None:
            told["token"] = self.token
        return told | {name: True for name in ("mention", "context") if getattr(self, name)}


def cut_at(tokenizer: Tokenizer, text: str) -> int | None:
    """Where a tokenizer that truncates cuts a text, in characters; None if it reads all of it."""
    limit = limit_of(tokenizer)
    if text.isascii() and len(text) + tokenizer.num_special_tokens_to_add(is_pair=False) < limit:
        # no token is shorter than a character; some tokenizers put one of their own before the text
        return None
    encoding = tokenizer.encode(text)
    if not encoding.overflowing:
        return None
    ends = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
    return max((end for (_, end), special in ends if not special), default=0)


def limit_of(tokenizer: Tokenizer) -> int:
    """The number of subwords that a tokenizer truncates to."""
    return int(tokenizer.truncation["max_length"])  # type: ignore[index]


def cut_sentence(limit: int, example: Example, at: int) -> Cut | None:
    """What is lost of a sentence that is cut at a character of its text; None where that is no whole token."""
    token = first_unread(example.offsets, at)
    span = example.mention.span if example.mention is not None else None
    if token == len(example.tokens):
        return None
    return Cut(limit, token, mention=span is not None and span.end > token)


def first_unread(offsets: Sequence[tuple[int, int]], at: int) -> int:
    """The first token that begins at or after a character."""
    return bisect_left([start for start, _ in offsets], at)
