"""`ChatAnnotator`: the base of annotators that ask a chat model about each record and keep the text of its answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar

from mmkit.annotators.base import Annotator, Failed
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
        """Say once which model it is if a run does not keep its name, because another would give other answers."""
        if (name := self.chat.unkept_name) and not self._told:
            self._told = True
            echo(
                f"note: the answers of {self.part} are those of {name!r}, which ${MODEL} names and a run does not "
                "keep: set `model` in the recipe to keep it",
                err=True,
            )

    def texts(
        self, prompts: Sequence[str], read: Callable[[int, Answer | Failed], str | Failed]
    ) -> list[str | Failed]:
        """What `read` makes of each prompt's number and answer; what it makes a failure of is not stored.

        Raises `MMKitError` for errors that every further prompt would have, too.
        """
        # it need not wait for others: `annotate` has a lock
        stored = StoredAnswers(self.chat, {"annotator": self.fingerprint()}, wait=False)
        answers = stored.ask(
            [Chat.of(prompt) for prompt in prompts],
            keep=lambda number, answer: isinstance(read(number, answer), str),
        )
        return [read(number, answer) for number, answer in enumerate(answers)]


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
