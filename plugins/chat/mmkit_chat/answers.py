"""The answer of a language model, and what of it is its text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_THOUGHTS = re.compile(
    r"""\A\s*(<think>.*?(</think>|\Z)
    | (?![\s{\[`]).*?(?<![`"'“‘])</think>)  # the template of some models has the <think>; JSON is no thought""",
    re.DOTALL | re.VERBOSE,
)
_SENTENCE_END = re.compile(
    r"""(?<!\b[A-Z])[.!?]["'”’)\]]*(?=\s|\Z)  # not after an initial: George W. Bush
    | [。！？]["'”’」』）]*""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a model. It is `truncated` if it reached the limit on its length.

    `prompt_tokens` and `answer_tokens` are what the model counts; None if a server does not say. `model` and `build`
    are what a server says of the model that answered: its name, which need not be the one that was asked for, and the
    version of what runs it; empty if it does not say. None of these matter for whether two answers are equal.
    """

    text: str
    truncated: bool = False
    prompt_tokens: int | None = field(default=None, compare=False)
    answer_tokens: int | None = field(default=None, compare=False)
    model: str = field(default="", compare=False)
    build: str = field(default="", compare=False)

    def to_json(self) -> list[Any]:
        """As JSON, to be stored."""
        return [
            *(self.text, self.truncated, self.prompt_tokens, self.answer_tokens),
            *(self.model, self.build),
        ]

    @classmethod
    def from_json(cls, value: list[Any]) -> Answer:
        """From what `to_json` gave, also in earlier versions, which did not keep all of it."""
        return cls(*value)

    def without_thoughts(self) -> str:
        """The text, without surrounding spaces and without the thoughts of a reasoning model before it.

        Thoughts end with `</think>`. They may lack their beginning, unless the text begins as JSON or code.
        """
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
