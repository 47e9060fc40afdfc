"""Sample encoders: their folders, made completely and once, also by several processes; and their vocabulary."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mmkit.data.types import Example


def make_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill `folder` unless it is filled already; other processes may do so at the same time."""
    if folder.is_dir() and any(folder.iterdir()):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        temporary.chmod(0o755)
        write(temporary)
        temporary.rename(folder)
    except OSError:
        if not (folder.is_dir() and any(folder.iterdir())):  # otherwise another process was first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def word_pieces(examples: Sequence[Example]) -> dict[str, int]:
    """A vocabulary for BERT's tokenizer: all characters of the examples, and words that occur more than once."""
    words = Counter(token.lower() for example in examples for token in example.tokens)
    characters = sorted({c for word in words for c in word})
    frequent = sorted((w for w, n in words.items() if n > 1 and len(w) > 1), key=lambda w: (-words[w], w))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *characters, *("##" + c for c in characters), *frequent]
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
