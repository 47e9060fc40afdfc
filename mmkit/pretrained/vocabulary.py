"""Check that a tokenizer is the one that a network was trained with."""

from __future__ import annotations

import logging

from transformers import PreTrainedConfig, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from mmkit.errors import PartError

PART = 0.5
"""If a tokenizer has less than this share of the entries that the network has embeddings for, it is the wrong one."""

PADDING = 128
"""Rows that embeddings may have beyond the vocabulary: their number is rounded up, usually to a multiple of at most
this."""

LACKING = 512
"""Entries that a complete vocabulary may lack. If more than these and more than 2 % are missing, there is a warning."""

ANY_KIND = frozenset(
    {"PreTrainedTokenizerFast", "TokenizersBackend", "PythonBackend", "MistralCommonBackend"}
)
"""Classes of tokenizers that are used with any model."""


def check_vocabulary(
    tokenizer: PreTrainedTokenizerFast, config: PreTrainedConfig, name: str, growing: bool = True
) -> None:
    """Raise `PartError` if a tokenizer cannot be the one that the network of a configuration was trained with.

    Such a tokenizer has almost no vocabulary, or more entries than the network has embeddings for, or is of another
    kind. Added tokens may go beyond the embeddings if those are `growing`: there is a warning, because they start at
    random. CLIP and BLIP do not grow; their old configurations give begin and end other numbers, so these are not
    compared.
    """
    rows = getattr(config.get_text_config(), "vocab_size", None)
    if not isinstance(rows, int) or rows < 1:
        return
    whole, base = len(tokenizer), tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    if whole < PART * rows:
        raise _refused(
            f"the tokenizer of {name!r} knows {whole:,} entries, but the network was trained with {rows:,}",
            "almost every word would be unknown: download the tokenizer's files of the same model",
        )
    if base > rows or (whole > rows and not growing):
        raise _refused(
            f"the tokenizer of {name!r} has {max(base, whole if not growing else 0):,} entries, but the network has "
            f"embeddings for {rows:,}",
            "it is another model's: download the tokenizer's files of the same model",
        )
    expected = str(TOKENIZER_MAPPING_NAMES.get(config.model_type) or "").removesuffix("Fast")
    kind = type(tokenizer).__name__.removesuffix("Fast")
    unlike = expected != kind and not ANY_KIND & {expected, kind, ""} and bool(expected)
    if (unlike and rows - whole > PADDING and rows % 8) or (growing and _other_marks(tokenizer, config)):
        raise _refused(
            f"the tokenizer of {name!r} ({kind}) is not that of the network ({config.model_type}, {rows:,} entries)",
            "it is another model's: download the tokenizer's files of the same model",
        )
    if max(tokenizer.get_vocab().values(), default=0) >= max(rows, whole):
        raise _refused(
            f"the tokenizer of {name!r} has entries with numbers beyond the network's {rows:,} embeddings",
            "it is another model's, or damaged: download the tokenizer's files of the same model",
        )
    if rows - whole > max(LACKING, 0.02 * rows):
        logging.getLogger(__name__).warning(
            "the tokenizer of %r knows %d entries of the %d that the network was trained with: is it whole, and the "
            "model's own?",
            name,
            whole,
            rows,
        )
    if whole > rows:
        logging.getLogger(__name__).warning(
            "the tokenizer of %r has %d added tokens that the network was not trained with: they begin at random",
            name,
            whole - rows,
        )


def _refused(what: str, hint: str) -> PartError:
    return PartError(what, hint=hint, code="encoder.wrong-tokenizer")


def _other_marks(tokenizer: PreTrainedTokenizerFast, config: PreTrainedConfig) -> bool:
    """Whether at least two of begin, end and padding have numbers in both, and all of them differ."""
    marks = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id}
    as_in_bert = {"bos": tokenizer.cls_token_id, "eos": tokenizer.sep_token_id, "pad": None}
    pairs = [
        (getattr(config, f"{mark}_token_id", None), as_in_bert[mark] if number is None else number)
        for mark, number in marks.items()
    ]
    known = [(ours, theirs) for ours, theirs in pairs if isinstance(ours, int) and isinstance(theirs, int)]
    return len(known) >= 2 and all(ours != theirs for ours, theirs in known)
