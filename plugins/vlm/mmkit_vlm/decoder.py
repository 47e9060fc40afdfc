"""Base of the decoders that ask a model: questions with examples, stored answers, and what became of them."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmkit.annotators.base import Failed
from mmkit.batch import Batch, Features, States
from mmkit.data.types import Entity, Example, Prediction
from mmkit.decoders.base import Decoder, Labels
from mmkit.encoders.base import Encoder
from mmkit.errors import DataError, PartError, RunError
from mmkit.terminal import echo
from mmkit.terminal.notes import capped, few
from mmkit_chat.answers import Answer
from mmkit_chat.messages import Chat, Message, plain
from mmkit_chat.model import MODEL
from mmkit_chat.server import RefusedPrompt
from mmkit_chat.stored import StoredAnswers
from mmkit_vlm.account import NOTE
from mmkit_vlm.alignment import squashed
from mmkit_vlm.pictures import pictures_of
from mmkit_vlm.reading import json_of
from mmkit_vlm.settings import ChatSettings, ShotSettings
from mmkit_vlm.shots import Nearest, Shot, chosen

NAMED = 5
"""Failures that an error names."""

KEY_LENGTH = 16
"""Characters of a question's hash that tell questions of one run apart."""


class ChatDecoder(Decoder):
    """Asks a model for each example; training learns the labels and keeps examples to show, and no weights.

    Subclasses say what is asked and how an answer is read.

    Args:
        chat: the model (`[model.decoder.chat]`).
        shots: the training examples that a question shows (`[model.decoder.shots]`).
        describe: label → what it means, for the question.
        instruction: what is said before the list of labels, in place of the usual words.
        keep_going: whether examples that got no answer count as nothing found, and are no error.
    """

    captures = "it builds its prompts in Python"
    part: ClassVar[str]
    usual: ClassVar[str]
    """The usual instruction."""
    key: ClassVar[str]
    """The name of the labels in `labels.json` and messages."""
    requires = frozenset({"query"})
    reads_causal = True
    reads_windows = True

    def __init__(
        self,
        chat: ChatSettings | None = None,
        shots: ShotSettings | None = None,
        describe: dict[str, str] | None = None,
        instruction: str = "",
        keep_going: bool = False,
    ) -> None:
        super().__init__()
        self.chat = chat or ChatSettings()
        self.shots = shots or ShotSettings()
        if self.shots.number < 0 or self.shots.pool < max(1, self.shots.number):
            raise PartError(
                f"shots.number = {self.shots.number}, shots.pool = {self.shots.pool}: number must be from 0 to pool",
                code="part.setting",
            )
        self.describe, self.instruction, self.keep_going = (
            describe or {},
            instruction or self.usual,
            keep_going,
        )
        self.answers = StoredAnswers(self.chat.made(self.part))
        self.kept: str | None = None  # the name of the model, if the run has kept it
        self.labels: dict[str, list[str]] = {}
        self.examples: list[Shot] = []
        self.entities: Sequence[Entity] = ()

    # what subclasses say

    @abstractmethod
    def labels_of(self, example: Example) -> Sequence[str]:
        """The labels that an example shows."""

    @abstractmethod
    def rules(self) -> str:
        """What the labels are and how to answer, for the first message."""

    @abstractmethod
    def schema(self, example: Example) -> dict[str, Any]:
        """The JSON schema of the answer."""

    @abstractmethod
    def asked(self, example: Example) -> str:
        """The question about an example, which does not contain what is to be found."""

    @abstractmethod
    def right(self, example: Example) -> dict[str, Any] | None:
        """The right answer for a training example; None if it cannot be shown."""

    @abstractmethod
    def read(self, value: dict[str, Any], example: Example, dropped: Counter[str]) -> Prediction:
        """What an answer says, as far as it fits the example; the rest is counted by reason."""

    def unasked(self, example: Example) -> str:
        """Why a question would be in vain, so that it is not asked; empty: it is asked."""
        return ""

    def nothing(self, example: Example) -> Prediction:
        """The prediction of an example whose answer is missing or unusable."""
        return Prediction(example.id)

    # training

    def learnt(self, examples: Sequence[Example]) -> dict[str, list[str]]:
        """The labels, by kind."""
        return {self.key: sorted({label for example in examples for label in self.labels_of(example)})}

    def fit(self, examples: Iterable[Example]) -> Labels:
        """The labels, and the training examples that questions may show."""
        units = [unit for example in examples for unit in self.units(example)]
        self.labels = self.learnt(units)
        known = [name for names in self.labels.values() for name in names]
        if unknown := sorted(set(self.describe) - set(known)):
            raise PartError(
                f"describe names labels that no training example has: {', '.join(unknown)}",
                where=self.part,
                hint=f"the labels are {few(known)}" if known else "it has no labels: leave describe out",
                code="vlm.described-label",
            )
        order = chosen(units, len(units), self.shots.seed, self.labels_of)
        shown = list(islice((shot for x in order if (shot := self.shot(x))), self.shots.kept))
        if broken := sum(shot.unreadable for shot in shown):
            echo(
                f"warning: {broken:,} pictures of the {len(shown):,} examples to show cannot be read",
                err=True,
            )
        # the recipe does not keep a name that the environment gives
        model = {} if self.chat.model else {"model": self.chat.named}
        return {**self.labels, **(model if self.chat.named else {}), "shots": [s.to_json() for s in shown]}

    def shot(self, example: Example) -> Shot | None:
        """A training example as it is kept to be shown; None if it cannot be."""
        right = self.right(example)
        if right is None:
            return None
        question = self.task.question(example)
        answer = json.dumps(right, ensure_ascii=False)
        return Shot(example.text, self.asked(question), answer, *self._pictures(question))

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        self.labels = {n: list(found) for n, found in labels.items() if n not in ("shots", "model")}
        self._ask_as(labels.get("model"))
        self.examples = [Shot.from_json(shot) for shot in labels.get("shots", [])]
        self.entities = entities
        self.unused = nn.Parameter(torch.zeros(1))  # a model has at least one weight

    def _ask_as(self, kept: Any) -> None:
        """Ask the model whose name the run has kept, whatever the environment names now."""
        if kept is None or self.chat.model or self.chat.backend != "server":
            return
        if not (isinstance(kept, str) and kept):
            raise RunError(
                "labels.json names no model",
                hint="copy the file again, or set model.decoder.chat.model",
                code="run.labels",
            )
        if self.chat.named not in (None, kept):
            echo(
                f"warning: the run asked the model {kept!r}, which is asked again, although ${MODEL} names "
                f"{self.chat.named!r}: train a run for the other (nothing is trained, so this asks only)",
                err=True,
            )
        self.kept = kept
        self.answers = StoredAnswers(replace(self.chat, model=kept).made(self.part))

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        return {"none": torch.zeros(len(examples))}

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        """Nothing is trained: the loss is zero."""
        return {"nothing": self.unused.sum() * 0.0}

    # prediction

    def connect(self, encoders: Mapping[str, Encoder]) -> None:
        self._nearest = Nearest(self.examples, list(encoders))

    def decode(
        self, states: States, batch: Batch, encoders: Mapping[str, Encoder] | None = None
    ) -> list[Prediction]:
        """What the model says of each example. Raises `DataError` if it did not answer, unless `keep_going`."""
        device = states["query"].device
        pictures = [self._pictures(example) for example in batch.examples]
        shown = self._shots_of(batch.examples, states["query"], encoders or {})
        chats = [
            None if self.unasked(x) else self._chat(x, shots, p)
            for x, shots, (p, _) in zip(batch.examples, shown, pictures, strict=True)
        ]
        came = iter(self.answers.ask([chat for chat in chats if chat is not None], str(device)))
        answers = [None if chat is None else next(came) for chat in chats]
        self._refuse(batch.examples, answers)
        return [
            self._predicted(example, answer, broken, chat)
            for example, answer, (_, broken), chat in zip(
                batch.examples, answers, pictures, chats, strict=True
            )
        ]

    def _shots_of(
        self, examples: Sequence[Example], queries: Tensor, encoders: Mapping[str, Encoder]
    ) -> list[list[Shot]]:
        """The shots of each question, without one that asks the same: it would show the answer."""
        asked = [squashed(self.asked(example)) for example in examples]
        if self.shots.choose == "nearest" and self.examples:
            return self._nearest(encoders, queries, self.shots.number, asked)
        return [[shot for shot in self.examples if squashed(shot.question) != each] for each in asked]

    def _pictures(self, example: Example) -> tuple[tuple[str, ...], int]:
        chat = self.chat
        return pictures_of(example.images, chat.pictures, chat.picture_side, chat.picture_bytes)

    def _chat(self, example: Example, shots: Sequence[Shot], pictures: tuple[str, ...]) -> Chat:
        """The instruction, the shots as questions with their answers, and the question."""
        messages = [message for shot in shots for message in shot.messages()]
        messages.append(Message("user", self.asked(example), pictures))
        first = replace(messages[0], text=f"{self.instruction} {self.rules()}\n\n{messages[0].text}")
        return Chat((first, *messages[1:]), json.dumps(self.schema(example), ensure_ascii=False))

    def _refuse(self, examples: Sequence[Example], answers: Sequence[Answer | Failed | None]) -> None:
        failed = [
            f"{x.id}: {a.reason}" for x, a in zip(examples, answers, strict=True) if isinstance(a, Failed)
        ]
        if failed and not self.keep_going:
            raise DataError(
                "\n  ".join(
                    [
                        f"the model did not answer for {len(failed)} examples; the answers before are stored",
                        *capped(failed, NAMED),
                    ]
                ),
                hint="set model.decoder.keep_going = true, and these count as nothing found"
                if any(isinstance(answer, RefusedPrompt) for answer in answers)
                else "run this again, which asks only for what is not stored, or set model.decoder.keep_going = true",
                code="vlm.no-answer",
            )

    def _predicted(
        self, example: Example, answer: Answer | Failed | None, broken: int, chat: Chat | None = None
    ) -> Prediction:
        if answer is None:
            return replace(self.nothing(example), notes={NOTE: {"not_asked": self.unasked(example)}})
        note: dict[str, Any] = {"pictures_unreadable": broken} if broken else {}
        if chat is not None:
            note["question"] = chat.key()[:KEY_LENGTH]
        if name := self.kept or self.chat.named:
            note["model"] = name
        dropped: Counter[str] = Counter()
        if isinstance(answer, Failed):
            found = self.nothing(example)
            return replace(found, notes={NOTE: {**note, "no_answer": answer.reason}})
        if told := ", ".join(text for text in (answer.model, answer.build) if text):
            note["told"] = told
        value = json_of(answer, self.schema(example)["properties"].keys())
        if isinstance(value, str):
            note["unusable"] = value
            found = self.nothing(example)
        else:
            found = self.read(value, example, dropped)
        if dropped:
            note["dropped"] = dict(dropped)
        return replace(found, notes={**found.notes, NOTE: {**note, **self._spent(answer)}})

    def _spent(self, answer: Answer) -> dict[str, Any]:
        """Tokens and cost of an answer, as far as they are known."""
        told = {"prompt_tokens": answer.prompt_tokens, "answer_tokens": answer.answer_tokens}
        spent: dict[str, Any] = {name: number for name, number in told.items() if number is not None}
        if self.chat.prices and len(spent) == len(told):
            prompt, said = self.chat.prices
            spent["cost"] = (prompt * (answer.prompt_tokens or 0) + said * (answer.answer_tokens or 0)) / 1e6
        return spent

    def listed(self, kind: str) -> str:
        """The labels of a kind with their descriptions, for a question."""
        names = self.labels[kind]
        return "; ".join(f"{n} ({plain(self.describe[n])})" if n in self.describe else n for n in names)


def one_of(names: Sequence[str]) -> dict[str, Any]:
    """The schema of one of several texts."""
    return {"type": "string", "enum": list(names)}


def object_of(**fields: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with exactly these fields."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def list_of(item: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list."""
    return {"type": "array", "items": item}
