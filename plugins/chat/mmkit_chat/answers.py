"""The answer of a language model, and what of it is its text."""

from __future__ import annotations

import re
from dataclasses import dataclass

_THOUGHTS = re.compile(r"\A\s*<think>.*?(</think>|\Z)", re.DOTALL)
_SENTENCE_END = re.compile(
    r"""(?<!\b[A-Z])[.!?]["'”’)\]]*(?=\s|\Z)  # not after an initial: George W. Bush
    | [。！？]["'”’」』）]*""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a model. It is `truncated` if it reached the limit on its length."""

    text: str
    truncated: bool = False

    def without_thoughts(self) -> str:
        """The text, without surrounding spaces and without the thoughts of a reasoning model before it."""
        return _THOUGHTS.sub("", self.text, count=1).strip()

    def whole_sentences(self) -> str:
        """The text without thoughts; if it is truncated, up to its last complete sentence.

        A truncated text without a complete sentence stays as it is.
        """
        text = self.without_thoughts()
        if not self.truncated:
            return text
        ends = [found.end() for found in _SENTENCE_END.finditer(text)]
        return text[: ends[-1]] if ends else text
