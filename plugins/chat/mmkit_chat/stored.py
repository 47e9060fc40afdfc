"""Answers of a chat model that are stored one by one, so that nothing is asked twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from filelock import FileLock

from mmkit.annotators.base import Failed
from mmkit.annotators.store import ResultStore
from mmkit_chat.answers import Answer
from mmkit_chat.messages import Chat


class Asks(Protocol):
    """What `StoredAnswers` needs of a model; `ChatModel` has it."""

    def identity(self) -> dict[str, Any]:
        """All that answers depend on besides the prompt, as JSON."""
        ...

    def prepare(self, device: str = "cpu") -> None:
        """Load or connect."""
        ...

    def answers(self, prompts: Sequence[Chat]) -> Iterator[tuple[int, Answer | Failed]]:
        """The number of a prompt and its answer, or why there is none, as soon as it is there."""
        ...


class StoredAnswers:
    """Asks a model what it has not been asked before; the rest comes from the user's cache.

    Each answer is stored before the next request takes its place: after a kill, at most as many questions are asked
    again as requests ran at once. Answers are stored by the model's identity and the prompt. A prompt without an answer
    is asked again next time. Processes with one model wait for one another.
    """

    def __init__(self, model: Asks) -> None:
        self.model = model
        self.asked = 0
        """How many prompts this object has asked the model."""

    def ask(self, prompts: Sequence[Chat], device: str = "cpu") -> list[Answer | Failed]:
        """An answer to each prompt, or why there is none. Equal prompts are asked once.

        Raises `MMKitError` for errors that every further prompt would have, too; what was answered is stored.
        """
        keys = [prompt.key() for prompt in prompts]
        fingerprint = json.dumps({"part": "mmkit_chat.answers.1", **self.model.identity()}, sort_keys=True)
        with ResultStore.of(fingerprint) as store:
            found: dict[str, Answer | Failed] = self._stored(store, keys)
            if len(found) < len(set(keys)):
                with FileLock(f"{store.path}.lock"):
                    found |= self._stored(store, keys)  # another process may have asked meanwhile
                    missing = {k: p for k, p in zip(keys, prompts, strict=True) if k not in found}
                    found |= self._fresh(store, missing, device)
        return [found[key] for key in keys]

    def _stored(self, store: ResultStore, keys: Sequence[str]) -> dict[str, Answer | Failed]:
        return {key: Answer.from_json(value) for key, value in store.get(set(keys)).items()}

    def _fresh(self, store: ResultStore, missing: dict[str, Chat], device: str) -> dict[str, Answer | Failed]:
        if missing:
            self.model.prepare(device)
        keys, fresh = list(missing), {}
        self.asked += len(keys)
        for number, answer in self.model.answers(list(missing.values())):
            fresh[keys[number]] = answer
            if isinstance(answer, Answer):
                store.put({keys[number]: answer.to_json()})
        return fresh
