"""Training examples that a question shows: chosen once by a seed, or for each question the nearest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from mmkit.data.types import Example
from mmkit.encoders.base import Encoder
from mmkit.errors import RunError
from mmkit_chat.messages import Message
from mmkit_vlm.alignment import squashed
from mmkit_vlm.fuser import vectors
from mmkit_vlm.pictures import JPEG

BATCH = 32
"""How many texts are encoded together."""


@dataclass(frozen=True)
class Shot:
    """A training example as a question and its right answer, both as texts, with its pictures as data URIs."""

    text: str
    question: str
    answer: str
    pictures: tuple[str, ...] = ()
    unreadable: int = 0
    """The number of its pictures that cannot be read and are not shown."""

    def messages(self) -> tuple[Message, Message]:
        """What is said."""
        return Message("user", self.question, self.pictures), Message("assistant", self.answer)

    def to_json(self) -> dict[str, Any]:
        """As JSON, for `labels.json`."""
        return {**vars(self), "pictures": list(self.pictures)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Shot:
        """From what `to_json` gave. Raises `RunError` for a picture that is an address: a server would fetch it."""
        pictures = tuple(value["pictures"])
        if not all(isinstance(picture, str) and picture.startswith(JPEG) for picture in pictures):
            raise RunError(
                "an example of the run has a picture that is not in the run itself",
                where="labels.json, shots",
                hint="do not use this run: somebody has changed it",
                code="vlm.shot-picture",
            )
        return cls(value["text"], value["question"], value["answer"], pictures, value.get("unreadable", 0))


def chosen(
    examples: Iterable[Example], number: int, seed: int, labels: Callable[[Example], Sequence[str]]
) -> list[Example]:
    """`number` of the examples: in an order shuffled by the seed, those first that show a label that none before shows.

    So each label is shown once, if there are examples enough, and the rest is as it comes.
    """
    pool = list(examples)
    Random(seed).shuffle(pool)
    seen: set[str] = set()
    telling: list[Example] = []
    others: list[Example] = []
    for example in pool:
        new = set(labels(example)) - seen
        (telling if new else others).append(example)
        seen |= new
    return (telling + others)[:number]


class Nearest:
    """Finds the shots whose texts are most similar to an example's, by the cosine of encoders' vectors."""

    def __init__(self, shots: Sequence[Shot], names: Sequence[str]) -> None:
        self.shots, self.names = shots, names
        self._vectors: Tensor | None = None
        self._places: dict[str, list[int]] = {}
        for i, shot in enumerate(shots):
            self._places.setdefault(squashed(shot.question), []).append(i)

    def __call__(
        self, encoders: Mapping[str, Encoder], queries: Tensor, number: int, asked: Sequence[str] = ()
    ) -> list[list[Shot]]:
        """For each of `queries [B, D]` the `number` most similar shots, the most similar last.

        A shot whose question, without white space, is the one `asked` is none of them.
        """
        if self._vectors is None:
            self._vectors = self._encoded(encoders, queries.device)
        scores = queries.float() @ self._vectors.t()
        for row, question in enumerate(asked):
            for i in self._places.get(question, ()):
                scores[row, i] = -torch.inf
        best = scores.topk(min(number, len(self.shots)), dim=1)
        return [
            [
                self.shots[i]
                for i, score in zip(reversed(row), reversed(likeness), strict=True)
                if score > -torch.inf
            ]
            for row, likeness in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def _encoded(self, encoders: Mapping[str, Encoder], device: torch.device) -> Tensor:
        """The vectors of all shots, `[N, D]`."""
        texts = [Example.from_text(f"shot{i}", shot.text) for i, shot in enumerate(self.shots)]
        made = []
        for start in range(0, len(texts), BATCH):
            some = texts[start : start + BATCH]
            inputs = {name: encoders[name].collate(some, [{} for _ in some]) for name in self.names}
            moved = {n: {k: v.to(device) for k, v in values.items()} for n, values in inputs.items()}
            made.append(vectors(encoders, self.names, moved).float())
        return torch.cat(made)
