"""What two names have in common: character trigrams and whole words, without case, accents and punctuation."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmkit.data.knowledge import hashed

Keys = np.ndarray[Any, np.dtype[np.uint64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]

# three code points of 21 bits leave the 64th bit to distinguish words from trigrams
_WORD_BIT = np.uint64(1 << 63)
_SPACE = ord(" ")


class _Folding(dict[int, int | str | None]):
    """The replacement of a code point of decomposed, casefolded text, computed when it first occurs."""

    def __missing__(self, code: int) -> int | str | None:
        category = unicodedata.category(chr(code))
        if unicodedata.combining(chr(code)):
            self[code] = None
        else:
            self[code] = code if category[0] in "LMN" else " "
        return self[code]


_FOLDING = _Folding(
    # Latin letters that Unicode does not decompose into a letter and an accent.
    {
        ord(letter): plain
        for letter, plain in zip("łøđðþæœı", ["l", "o", "d", "d", "th", "ae", "oe", "i"], strict=True)
    }
)


def folded(text: str) -> str:
    """`text` as words with single spaces between, without compatibility forms, case, accents and punctuation.

    Text of punctuation alone stays, so that it can still be distinguished.
    """
    plain = unicodedata.normalize("NFKD", text).casefold()
    words = plain.translate(_FOLDING).split()
    return " ".join(words or plain.split())


def name_features(texts: Sequence[str]) -> tuple[Keys, Counts]:
    """The features of folded texts: 64-bit keys, ascending and distinct within a text, and how many each has.

    Features are the trigrams of each word with a space on either side, exactly, and hashes of whole words.
    """
    codes = np.frombuffer(
        (" " + "".join(f"{text} " for text in texts)).encode("utf-32-le", "surrogatepass"), dtype="<u4"
    ).astype(np.uint64)
    before, middle, after = codes[:-2], codes[1:-1], codes[2:]
    inside = middle != _SPACE
    trigrams = (before << np.uint64(42) | middle << np.uint64(21) | after)[inside]
    trigram_owners = np.repeat(np.arange(len(texts)), [len(text) + 1 for text in texts])[:-1][inside]
    words = [text.split() for text in texts]
    word_owners = np.repeat(np.arange(len(texts)), [len(some) for some in words])
    word_keys = hashed(word for some in words for word in some) | _WORD_BIT
    return _distinct(
        np.concatenate([trigrams, word_keys]), np.concatenate([trigram_owners, word_owners]), len(texts)
    )


def _distinct(keys: Keys, owners: Counts, texts: int) -> tuple[Keys, Counts]:
    """Each text's keys, once and in order, and their number for each text."""
    order = np.lexsort((keys, owners))
    keys, owners = keys[order], owners[order]
    first = np.ones(len(keys), dtype=bool)
    first[1:] = (keys[1:] != keys[:-1]) | (owners[1:] != owners[:-1])
    return keys[first], np.bincount(owners[first], minlength=texts)
