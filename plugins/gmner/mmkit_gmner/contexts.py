"""What a language model says about posts, from files in the form of PGIM's authors, which RiVEG's authors use too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mmkit.data.lines import numbered_lines
from mmkit.errors import DataError

NOTE = "gmner.context"
"""Note key of an example: its context, as a text."""

SEPARATOR = "<EOS>"
"""The word between a sentence and its context."""


class Contexts:
    """The contexts of a file's posts, in their order: `next` gives that of the next post.

    A block of `word TAB tag` lines is a post: its words, and after `<EOS>` its context. Raises `DataError` for a block
    whose words are not those of the post, and for a file that has too few blocks or too many.
    """

    def __init__(self, path: Path, source: str, repairs: Counter[str]) -> None:
        self.path, self.repairs = path, repairs
        self._blocks = _blocks(path, source, repairs)

    def next(self, tokens: tuple[str, ...], post: str, refused: int = 0) -> str:
        """The context of the next post, which has these tokens; empty if it has none.

        Before it, as many blocks may be those of posts that the reader `refused`.
        """
        for left in range(refused, -1, -1):
            found = next(self._blocks, None)
            if found is None:
                raise self._wrong(f"the file of contexts ends before the post {post}")
            line, words = found
            end = words.index(SEPARATOR) if SEPARATOR in words else len(words)
            if tuple(words[:end]) == tokens:
                break
            if not left:
                told = " ".join(words[:end])[:60]
                raise self._wrong(
                    f"this context is not that of the post {post}: its words are {told!r}", line
                )
        if end == len(words):
            self.repairs["post without a context"] += 1
        return " ".join(words[end + 1 :])

    def end(self, refused: int = 0) -> None:
        """Raise `DataError` if there are more blocks left than posts that the reader `refused` at the end."""
        left = list(islice(self._blocks, refused + 1))
        if len(left) > refused:
            raise self._wrong("the file of contexts has more posts than the text", left[-1][0])

    def _wrong(self, what: str, line: int | None = None) -> DataError:
        hint = "take the file that belongs to this split: it has the same posts in the same order"
        where = self.path if line is None else f"{self.path}:{line}"
        return DataError(what, where=where, hint=hint, code="gmner.contexts")


def _blocks(path: Path, source: str, repairs: Counter[str]) -> Iterator[tuple[int, list[str]]]:
    """The first line and the words of each block."""
    words: list[str] = []
    begin = 1
    for number, line in numbered_lines(path, source, repairs):
        if line.strip():
            words = words or []
            begin = begin if words else number
            words.append(line.partition("\t")[0].strip())
        elif words:
            yield begin, words
            words = []
    if words:
        yield begin, words
