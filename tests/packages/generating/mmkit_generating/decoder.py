"""`generating.tagger.v1`: writes the names of a sentence and their types, one word after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.batch import Batch, Features, States
from mmkit.data.types import Entity, Example, Prediction, Span
from mmkit.decoders.base import Decoder, Labels
from mmkit.decoders.tagging import learn_types
from mmkit.tasks import SpanTask, Task

END = "[END]"
NONE = -100
"""What cross-entropy leaves out."""


class GeneratingTagger(Decoder):
    """Writes `PER Ada Byron ORG Acme [END]` of a sentence, by a recurrent network that looks at its subwords.

    A written word is read, and is compared with what is to be written, as the embeddings that the text encoder has for
    it: `loss` and `decode` are given the encoders. Loss `writing`: cross-entropy of the words, mean over them.
    """

    requires = frozenset({"tokens", "mask", "pooled"})
    task: Task = SpanTask()

    def __init__(self, text: str = "text", longest: int = 12) -> None:
        super().__init__()
        self.text, self.longest = text, longest

    def fit(self, examples: Iterable[Example]) -> Labels:
        examples = list(examples)
        words = {word for x in examples for s in x.spans for word in x.tokens[s.start : s.end]}
        return {"types": list(learn_types(examples, None)), "words": sorted(words)}

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        self.types = labels["types"]
        self.written = [END, *(f"<{name}>" for name in self.types), *labels["words"]]
        self.number = {word: i for i, word in enumerate(self.written)}
        self.width = dims["tokens"]
        self.begin = nn.Linear(dims["pooled"], self.width)
        self.step = nn.GRUCell(2 * self.width, self.width)
        self.out = nn.Linear(2 * self.width, self.width)
        self.own = nn.Embedding(1 + len(self.types), self.width)

    def connect(self, encoders: Mapping[str, Any]) -> None:
        """Cut the words that can be written into the text encoder's subwords."""
        tokenizer = encoders[self.text].tokenizer
        words = self.written[1 + len(self.types) :]
        cut = [
            tokenizer(word, add_special_tokens=False)["input_ids"] or [tokenizer.unk_token_id]
            for word in words
        ]
        longest = max(map(len, cut), default=1)
        self.register_buffer(
            "ids", torch.tensor([c + [-1] * (longest - len(c)) for c in cut]), persistent=False
        )

    def table(self, encoders: Mapping[str, Any]) -> Tensor:
        """An embedding `[V, D]` for everything that can be written."""
        subwords = encoders[self.text].backbone.get_input_embeddings()(self.ids.clamp(min=0))  # type: ignore[operator]
        real = (self.ids >= 0).unsqueeze(2)  # type: ignore[operator]
        words = (subwords * real).sum(1) / real.sum(1).clamp(min=1)
        return torch.cat([self.own.weight, words[:, : self.width]])

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """`writing [B, L]`, `NONE` beyond the end."""
        lines = []
        for example in examples:
            line: list[int] = []
            for span in sorted(example.spans):
                line.append(self.number[f"<{span.label}>"])
                line += [self.number[word] for word in example.tokens[span.start : span.end]]
            lines.append([*line[: self.longest - 1], self.number[END]])
        longest = max(map(len, lines))
        return {"writing": torch.tensor([line + [NONE] * (longest - len(line)) for line in lines])}

    def next_word(
        self, states: States, written: Tensor, hidden: Tensor, table: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The next word's scores `[B, V]`, and the new state."""
        look = (states["tokens"] @ hidden.unsqueeze(2)).squeeze(2).masked_fill(~states["mask"].bool(), -1e4)
        seen = (look.softmax(1).unsqueeze(1) @ states["tokens"]).squeeze(1)
        hidden = self.step(torch.cat([table[written], seen], dim=1), hidden)
        return self.out(torch.cat([hidden, seen], dim=1)) @ table.T, hidden

    def loss(
        self, states: States, targets: Features, encoders: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        assert encoders is not None
        table, writing = self.table(encoders), targets["writing"]
        hidden = torch.tanh(self.begin(states["pooled"]))
        before, scores = torch.zeros_like(writing[:, 0]), []
        for at in range(writing.shape[1]):
            now, hidden = self.next_word(states, before, hidden, table)
            scores.append(now)
            before = writing[:, at].clamp(min=0)
        found = torch.stack(scores, dim=1).flatten(0, 1)
        return {"writing": F.cross_entropy(found, writing.flatten(), ignore_index=NONE)}

    def decode(
        self, states: States, batch: Batch, encoders: Mapping[str, Any] | None = None
    ) -> list[Prediction]:
        """What is written without a look at any answer, and found in the sentence."""
        assert encoders is not None
        table = self.table(encoders)
        hidden = torch.tanh(self.begin(states["pooled"]))
        before = torch.zeros(len(batch), dtype=torch.long, device=hidden.device)
        steps, sure = [], []
        for _ in range(self.longest):
            now, hidden = self.next_word(states, before, hidden, table)
            best = now.softmax(1).max(1)
            before = best.indices
            steps.append(before)
            sure.append(best.values)
        lines, scores = torch.stack(steps, dim=1).tolist(), torch.stack(sure, dim=1).tolist()
        return [
            self.read(x, line, score) for x, line, score in zip(batch.examples, lines, scores, strict=True)
        ]

    def read(self, example: Example, line: Sequence[int], scores: Sequence[float]) -> Prediction:
        """The spans that a line names and the sentence has; a name's score is its least sure word's."""
        found: dict[Span, float] = {}
        parts: list[tuple[str, list[str], float]] = []
        for word, score in zip((self.written[i] for i in line), scores, strict=True):
            if word == END:
                break
            if word[:1] == "<" and word[1:-1] in self.types:
                parts.append((word[1:-1], [], score))
            elif parts:
                label, words, least = parts[-1]
                parts[-1] = (label, [*words, word], min(least, score))
        for label, words, score in parts:
            for start in range(len(example.tokens) - len(words) + 1 if words else 0):
                if list(example.tokens[start : start + len(words)]) == words:
                    found[Span(start, start + len(words), label)] = score
                    break
        return Prediction(example.id, tuple(found), tuple(found.values()))
