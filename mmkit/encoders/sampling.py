"""Sample encoders: their folders, made completely and once, also by several processes; and their vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mmkit.data.types import Example
from mmkit.files import put_in_place
from mmkit.files.ownership import check_tree
from mmkit.files.temporary import temporary_folder


def make_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill `folder` unless it is filled already; other processes may do so at the same time."""

    def is_filled() -> bool:
        return folder.is_dir() and any(folder.iterdir())

    if is_filled():
        check_tree(folder)
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder.parent, folder.name) as temporary:
        write(temporary)
        put_in_place(temporary, folder, is_filled)


def word_pieces(examples: Sequence[Example]) -> dict[str, int]:
    """A vocabulary for BERT's tokenizer: all characters of the examples, and words that occur more than once."""
    words = Counter(token.lower() for example in examples for token in example.tokens)
    characters = sorted({c for word in words for c in word})
    frequent = sorted((w for w, n in words.items() if n > 1 and len(w) > 1), key=lambda w: (-words[w], w))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *characters, *("##" + c for c in characters), *frequent]
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
