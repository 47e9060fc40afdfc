"""`ChatAnnotator`: the base of annotators that ask a chat model about each record and keep the text of its answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar

from mmkit.annotators.base import Annotator, Failed, MadeBy
from mmkit.terminal import echo
from mmkit_chat.answers import Answer
from mmkit_chat.messages import Chat
from mmkit_chat.model import MODEL, ChatModel
from mmkit_chat.stored import StoredAnswers


class ChatAnnotator(Annotator):
    """Checks and prepares `chat`, asks it, and makes fingerprint and keys. Subclasses say what is asked and kept.

    Each answer is stored as soon as it is there, and not first with its batch: after a kill, only the requests that
    were under way are made again.
    """

    part: ClassVar[str]
    """Its registered name."""

    def __init__(self, chat: ChatModel) -> None:
        super().__init__()
        self.chat, self.batch_size = chat, chat.batch_size
        self._told = False

    def asking(self) -> dict[str, Any]:
        """What answers depend on besides the model and the words of a prompt, as JSON."""
        return {}

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return json.dumps({"part": self.part, **self.asking(), **self.chat.identity()}, sort_keys=True)

    def check_there(self) -> None:
        self.chat.check_there()

    def check_computable(self) -> None:
        """Raises `MMKitError` for a server that is not named or needs a key, and a model that nobody names."""
        self.chat.check_computable()

    def prepare(self, device: str) -> None:
        self.chat.prepare(device)

    def finish(self) -> None:
        """Say once which model it is if the recipe does not name it, because another would give other answers."""
        if (name := self.chat.unkept_name) and not self._told:
            self._told = True
            echo(
                f"note: the answers of {self.part} are those of {name!r}, which ${MODEL} names and the recipe does "
                "not: set `model` in the recipe, so that a later command asks the same one",
                err=True,
            )

    def made_by(self, result: Any) -> MadeBy | None:
        known = result if isinstance(result, dict) else {}
        return MadeBy(
            self.chat.name,
            known.get("model", ""),
            known.get("build", "") or self.chat.version,
            known.get("prompt_tokens"),
            known.get("answer_tokens"),
        )

    def results(
        self, prompts: Sequence[str], read: Callable[[int, Answer | Failed], str | Failed]
    ) -> list[dict[str, Any] | Failed]:
        """`texts`, each with what is known of the model that answered. `text_of` gives the text of a result."""
        return [
            text if isinstance(text, Failed) else {"text": text, **_about(answer)}
            for answer, text in self._read(prompts, read)
        ]

    def texts(
        self, prompts: Sequence[str], read: Callable[[int, Answer | Failed], str | Failed]
    ) -> list[str | Failed]:
        """What `read` makes of each prompt's number and answer; what it makes a failure of is not stored.

        Raises `MMKitError` for errors that every further prompt would have, too.
        """
        return [text for _, text in self._read(prompts, read)]

    def _read(
        self, prompts: Sequence[str], read: Callable[[int, Answer | Failed], str | Failed]
    ) -> list[tuple[Answer | Failed, str | Failed]]:
        # it need not wait for others: `annotate` has a lock
        stored = StoredAnswers(self.chat, {"annotator": self.fingerprint()}, wait=False)
        answers = stored.ask(
            [Chat.of(prompt) for prompt in prompts],
            keep=lambda number, answer: isinstance(read(number, answer), str),
        )
        return [(answer, read(number, answer)) for number, answer in enumerate(answers)]


def text_of(result: Any) -> str:
    """The text of a result; results of earlier versions are nothing but the text."""
    text: str = result["text"] if isinstance(result, dict) else result
    return text


def _about(answer: Answer | Failed) -> dict[str, Any]:
    """What is known of the model that gave an answer, as JSON."""
    names = ("model", "build", "prompt_tokens", "answer_tokens")
    told = {name: getattr(answer, name, None) for name in names}
    return {name: value for name, value in told.items() if value not in (None, "")}


def prompt_key(prompt: str) -> str:
    """The key under which the answer to a prompt is stored."""
    return hashlib.sha256(prompt.encode()).hexdigest()


def said(answer: Answer | Failed) -> str | Failed:
    """The text of an answer up to its last whole sentence, or why there is none."""
    if isinstance(answer, Failed):
        return answer
    return answer.whole_sentences() or Failed(
        "the answer has no text within max_tokens (perhaps only reasoning)"
    )
