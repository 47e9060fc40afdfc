"""Words as a tokenizer sees them: unknown ones all look the same to the network; others begin with a lone space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmkit.data.types import Example
from mmkit.encoders.subwords import lone_spaces
from mmkit.errors import PartError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from mmkit.encoders.base import Encoder

MANY = 0.1
"""The share of unknown words from which there is a warning; in English tweets about 1 to 3 % are unknown."""


MOST = 0.5
"""The share of words with a lone space from which there is a warning; in languages with spaces hardly any have one."""


def unknown_words(encoders: Mapping[str, Encoder], examples: Sequence[Example]) -> Iterator[str]:
    """Warnings about encoders, by section of the recipe, whose tokenizer does not know many of the examples' words.

    The encoders are built. There is no warning about one that reads no examples.
    """
    words = Counter(word for example in examples for word in example.tokens)
    for section, encoder in encoders.items():
        tokenizer: Any = getattr(encoder, "tokenizer", None)
        if not hasattr(tokenizer, "backend_tokenizer") or not _reads_examples(encoder):
            continue
        unknown = _unknown(tokenizer, words)
        count, total = sum(unknown.values()), words.total()
        if total and count > MANY * total:
            few = ", ".join(repr(word) for word, _ in unknown.most_common(5))
            yield (
                f"[{section}] its tokenizer does not know {count / total:.0%} of train's words ({count} of {total}; "
                f"{few} for example), so it reads all of them as the same word; "
                f"is it the model's own tokenizer, and for this language?"
            )


def spaces_alone(encoders: Mapping[str, Encoder], examples: Sequence[Example]) -> Iterator[str]:
    """Warnings about encoders, as of `unknown_words`, that read a space before words of a language without spaces."""
    words = Counter(word for example in examples for word in example.tokens)
    for section, encoder in encoders.items():
        tokenizer: Any = getattr(encoder, "tokenizer", None)
        if getattr(encoder, "drop_lone_spaces", True) or not _reads_examples(encoder):
            continue
        spaces = set(lone_spaces(tokenizer).tolist())
        begun = sum(
            words[word]
            for word, ids in _encoded(tokenizer, words).items()
            if len(ids) > 1 and ids[0] in spaces
        )
        if begun > MOST * words.total():
            yield (
                f"[{section}] its tokenizer puts a subword that is only a space before {begun / words.total():.0%} of "
                "train's words, and words are tagged where they begin; if this language is written without spaces, "
                "set drop_lone_spaces = true"
            )


def _encoded(tokenizer: PreTrainedTokenizerFast, words: Counter[str]) -> dict[str, list[int]]:
    """The subwords of each distinct word, on its own."""
    distinct = [word for word in words if word.strip()]
    encodings = tokenizer.backend_tokenizer.encode_batch(
        [[word] for word in distinct], is_pretokenized=True, add_special_tokens=False
    )
    return {word: encoding.ids for word, encoding in zip(distinct, encodings, strict=True)}


def _reads_examples(encoder: Encoder) -> bool:
    try:
        encoder.check_reads(Example)
    except PartError:
        return False
    return True


def _unknown(tokenizer: PreTrainedTokenizerFast, words: Counter[str]) -> Counter[str]:
    """The words with an unknown subword, one entry for each occurrence."""
    unk = tokenizer.unk_token_id
    if not isinstance(unk, int):
        return Counter()  # it splits every text into bytes
    return Counter({word: words[word] for word, ids in _encoded(tokenizer, words).items() if unk in ids})
