"""Words unknown to a tokenizer: the network sees all of them as the same word, so it cannot learn from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmkit.data.types import Example
from mmkit.errors import PartError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from mmkit.encoders.base import Encoder

MANY = 0.1
"""The share of unknown words from which there is a warning; in English tweets about 1 to 3 % are unknown."""


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
    distinct = [word for word in words if word.strip()]
    encodings = tokenizer.backend_tokenizer.encode_batch(
        [[word] for word in distinct], is_pretokenized=True, add_special_tokens=False
    )
    found = (word for word, encoding in zip(distinct, encodings, strict=True) if unk in encoding.ids)
    return Counter({word: words[word] for word in found})
