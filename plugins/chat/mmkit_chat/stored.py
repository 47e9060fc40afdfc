"""Answers of a chat model that are stored one by one, so that nothing is asked twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
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


Keep = Callable[[int, Answer], bool]
"""Called with the number of a prompt and its answer: whether this is an answer, and is to be stored."""


class StoredAnswers:
    """Asks a model what it has not been asked before; the rest comes from the user's cache.

    Each answer is stored before the next request takes its place: after a kill, at most as many questions are asked
    again as requests ran at once. Answers are stored by the model's identity, the prompt, and what they `also` depend
    on (JSON). A prompt without an answer is asked again next time. Processes with one model wait for one another;
    with `wait = False` the caller sees to it that no two ask the same.
    """

    def __init__(self, model: Asks, also: Mapping[str, Any] | None = None, *, wait: bool = True) -> None:
        self.model, self.also, self.wait = model, dict(also or {}), wait
        self.asked = 0
        """How many prompts this object has asked the model."""

    def ask(
        self, prompts: Sequence[Chat], device: str = "cpu", keep: Keep = lambda number, answer: True
    ) -> list[Answer | Failed]:
        """An answer to each prompt, or why there is none. Equal prompts are asked once.

        What `keep` refuses is returned, but not stored. Raises `MMKitError` for errors that every further prompt would
        have, too; what was answered is stored.
        """
        keys = [prompt.key() for prompt in prompts]
        identity = {"part": "mmkit_chat.answers.1", **self.model.identity(), **self.also}
        with ResultStore.of(json.dumps(identity, sort_keys=True)) as store:
            found: dict[str, Answer | Failed] = self._stored(store, keys)
            if len(found) < len(set(keys)):
                with FileLock(f"{store.path}.lock") if self.wait else nullcontext():
                    found |= self._stored(store, keys)  # another process may have asked meanwhile
                    missing = {key: number for number, key in enumerate(keys) if key not in found}
                    found |= self._fresh(store, prompts, missing, device, keep)
        return [found[key] for key in keys]

    def _stored(self, store: ResultStore, keys: Sequence[str]) -> dict[str, Answer | Failed]:
        return {key: Answer.from_json(value) for key, value in store.get(set(keys)).items()}

    def _fresh(
        self, store: ResultStore, prompts: Sequence[Chat], missing: Mapping[str, int], device: str, keep: Keep
    ) -> dict[str, Answer | Failed]:
        """The answers to the prompts whose keys and numbers are `missing`."""
        if missing:
            self.model.prepare(device)
        keys, fresh = list(missing), {}
        self.asked += len(keys)
        answers = self.model.answers([prompts[number] for number in missing.values()])
        with closing(_to_close(answers)) as answers:  # where this is interrupted, nothing more is asked
            for place, answer in answers:
                key = keys[place]
                fresh[key] = answer
                if isinstance(answer, Answer) and keep(missing[key], answer):
                    store.put({key: answer.to_json()})
        return fresh


def _to_close(answers: Iterator[tuple[int, Answer | Failed]]) -> Generator[tuple[int, Answer | Failed]]:
    """The same, which can be closed whatever it is; a generator is closed with it."""
    yield from answers
