"""A language model's answer as an entity's description."""

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
    """A model's answer; `truncated` if the limit on its length stopped it."""

    text: str
    truncated: bool = False

    def description(self) -> str:
        """The text without a reasoning model's thoughts before it, and without spaces around it.

        A truncated text ends with its last whole sentence; if it has none, it stays as it is.
        """
        text = _THOUGHTS.sub("", self.text, count=1).strip()
        if not self.truncated:
            return text
        ends = [found.end() for found in _SENTENCE_END.finditer(text)]
        return text[: ends[-1]] if ends else text
