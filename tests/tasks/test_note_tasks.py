"""A task whose answer is a note, as a plugin writes it from docs/plugins.md: no spans, relations or links."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkit import Answer, Batch, Decoder, Entity, Example, Features, Metric, Prediction, States, Task
from mmkit.metrics.scoring import of_perfect_predictions
from mmkit.testing import check_decoder, check_metric

MOOD = "moods.mood"
EXAMPLES = [
    Example.from_tokens(str(n), [*["so"] * (n % 3), word], notes={MOOD: mood})
    for n, (word, mood) in enumerate([("sun", "glad"), ("rain", "sad"), ("fun", "glad"), ("loss", "sad")] * 2)
]


@dataclass(frozen=True, kw_only=True, eq=False)
class MoodAnswer(Answer):
    mood: str


class MoodTask(Task):
    name = "moods"
    does_not = "finds no moods"
    answer_type = MoodAnswer

    def question(self, example: Example) -> Example:
        return replace(example, notes={k: v for k, v in example.notes.items() if k != MOOD})

    def answered(self, example: Example, prediction: Prediction, entities: Sequence[Entity]) -> Answer:
        return MoodAnswer.of(example, prediction, mood=prediction.notes[MOOD])

    def right(self, example: Example) -> Prediction:
        return Prediction(example.id, notes={MOOD: example.notes[MOOD]})


class MoodDecoder(Decoder):
    requires = frozenset({"tokens", "mask"})
    task = MoodTask()

    def fit(self, examples: Iterable[Example]) -> dict[str, Any]:
        return {"moods": sorted({x.notes[MOOD] for x in examples})}

    def build(self, dims: Mapping[str, int], labels: dict[str, Any], entities: Sequence[Entity] = ()) -> None:
        self.moods = labels["moods"]
        self.linear = nn.Linear(dims["tokens"], len(self.moods))

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        return {"mood": torch.tensor([self.moods.index(x.notes[MOOD]) for x in examples])}

    def logits(self, states: States) -> Tensor:
        mask = states["mask"].unsqueeze(2)
        scores: Tensor = self.linear((states["tokens"] * mask).sum(1) / mask.sum(1))
        return scores

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        return {"nll": F.cross_entropy(self.logits(states), targets["mood"])}

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        found = [self.moods[n] for n in self.logits(states).argmax(1).tolist()]
        return [Prediction(x.id, notes={MOOD: mood}) for x, mood in zip(batch.examples, found, strict=True)]


class Accuracy(Metric):
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.right = self.total = 0

    def update(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        pairs = zip(examples, predictions, strict=True)
        self.right += sum(x.notes[MOOD] == prediction.notes.get(MOOD) for x, prediction in pairs)
        self.total += len(examples)

    def compute(self) -> dict[str, float]:
        return {"accuracy": self.right / self.total if self.total else 0.0}


def test_the_parts_keep_their_contracts():
    check_decoder(MoodDecoder(), examples=EXAMPLES)
    check_metric(Accuracy(), examples=EXAMPLES, right=[MoodTask().right(x) for x in EXAMPLES])


def test_checks_try_a_metric_with_what_the_task_calls_right():
    metrics = {"moods": Accuracy()}
    assert of_perfect_predictions(metrics, EXAMPLES, MoodTask().right) == {"moods.accuracy": 1.0}
    assert of_perfect_predictions(metrics, EXAMPLES) == {"moods.accuracy": 0.0}


def test_the_decoder_is_not_asked_with_the_answer():
    task = MoodTask()
    assert all(MOOD not in task.question(x).notes for x in EXAMPLES)
    answer = task.answer(EXAMPLES[0], task.right(EXAMPLES[0]))
    assert isinstance(answer, MoodAnswer) and answer.mood == "glad"
