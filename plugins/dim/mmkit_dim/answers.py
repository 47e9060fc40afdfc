"""The answer of a language model, and the description that it gives an entity."""

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

    def description(self) -> str:
        """The text, without surrounding spaces and without the thoughts of a reasoning model before it.

        A truncated text is cut after its last complete sentence. If it has none, it stays as it is.
        """
        text = _THOUGHTS.sub("", self.text, count=1).strip()
        if not self.truncated:
            return text
        ends = [found.end() for found in _SENTENCE_END.finditer(text)]
        return text[: ends[-1]] if ends else text
