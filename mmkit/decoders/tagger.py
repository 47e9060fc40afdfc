"""Base of taggers: emissions of words, targets from spans, and spans from tags."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mmkit.batch import Batch, Features, States
from mmkit.data.problems import Problem
from mmkit.data.types import ORPHANS, Entity, Example, Prediction, Span
from mmkit.decoders.base import Decoder, LabelAxes, Labels, label_names
from mmkit.decoders.examined import overlap_problems, type_problems
from mmkit.decoders.tagging import Ids, Scheme, TagSet, learn_types, padded
from mmkit.errors import RecipeError, RunError, did_you_mean
from mmkit.ops.dropout import Dropout
from mmkit.tasks import SpanTask, Task


class Tagger(Decoder):
    """Tags words by a linear layer over the text's states; subclasses say how tags are scored together.

    `text` names the text encoder whose word alignment is used, `types` are the span types in label order (default:
    those of the training examples, sorted by name). Each word is tagged by its first subword's state. A subclass
    may tag other positions than words: it overrides `tag_set`, `position_tags`, `emissions` and `of_words`.

    Words cut off by the length limit have no tag in training and are predicted as O.
    """

    requires: frozenset[str] = frozenset({"tokens", "mask", "word_index", "first_subword"})
    score_names: frozenset[str] = frozenset({"emissions", "lengths"})
    task: Task = SpanTask()
    reads_windows: ClassVar[bool] = True

    subwords: ClassVar[str] = "first"
    """The tagged positions, as written in `labels.json`."""

    linear: nn.Linear

    def __init__(
        self,
        text: str = "text",
        *,
        scheme: Scheme = "bio",
        types: list[str] | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if types is not None and (not types or len(set(types)) < len(types)):
            raise RecipeError(
                f"types must be different names, not {types}",
                hint="or leave them out",
                code="part.label-names",
            )
        self.text, self.scheme, self.types = text, scheme, types
        self.dropout = Dropout(dropout)

    def fit(self, examples: Iterable[Example]) -> Labels:
        types = learn_types(examples, self.types)
        tags = self.tag_set(types).names
        return {"types": types, "scheme": self.scheme, "subwords": self.subwords, "tags": list(tags)}

    def examine(self, examples: Sequence[Example], *, annotated: bool = True) -> Iterable[Problem]:
        yield from super().examine(examples, annotated=annotated)
        yield from type_problems(examples, self.types)
        yield from overlap_problems(examples)

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        self.tags, tags = self.tag_set(label_names(labels, "types")), label_names(labels, "tags")
        if list(self.tags.names) != tags:
            raise RunError(
                f"the labels' {len(tags)} tags are not the {len(self.tags)} that "
                f"scheme = {self.scheme!r} and subwords = {self.subwords!r} give",
                hint="use the recipe the labels come from",
                code="run.other-tags",
            )
        self.linear = nn.Linear(dims["tokens"], len(self.tags))

    def label_axes(self) -> Mapping[str, LabelAxes] | None:
        return {"linear.weight": ("tags", None), "linear.bias": ("tags",)}

    def tag_set(self, types: Sequence[str]) -> TagSet:
        """The tags over span types."""
        return TagSet(types, self.scheme)

    # Training

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """`tags [B, S]` of the tagged positions, -1 for none."""
        alignment = self._alignment(inputs)
        words = padded(
            [self.tags.encode(example) for example in examples], alignment["first_subword"].shape[1]
        )
        return {"tags": self.position_tags(words, alignment)}

    def position_tags(self, words: Ids, alignment: Features) -> Tensor:
        """The tag of each position that is tagged `[B, S]`, from those of words `[B, W]`, -1 after the last."""
        return at_least_one(torch.from_numpy(words))

    def _alignment(self, inputs: Mapping[str, Features]) -> Features:
        """The inputs of the text encoder, with its word alignment."""
        texts = [name for name, tensors in inputs.items() if "first_subword" in tensors]
        if self.text not in texts:
            problem = "encodes no words" if self.text in inputs else "does not exist"
            raise RecipeError(
                f"the encoder {self.text!r} {problem}",
                where="model.decoder.text",
                hint=did_you_mean(self.text, texts),
                code="part.no-word-encoder",
            )
        return inputs[self.text]

    # Both

    def emissions(self, states: States) -> tuple[Tensor, Tensor]:
        """Tag scores of the tagged positions and their mask: `[B, S, K]`, `[B, S]`; here positions are words, S = W."""
        scores = self.linear(self.dropout(states["tokens"]))
        first = at_least_one(states["first_subword"])
        return at_positions(scores, first), first >= 0

    def scores(self, states: States) -> Features:
        """`emissions [B, W, K]` of the words that were not cut off, zero beyond `lengths [B]`."""
        emissions, mask = self.emissions(states)
        return {"emissions": emissions.masked_fill(~mask.unsqueeze(2), 0.0), "lengths": mask.sum(1)}

    @abstractmethod
    def tag(self, emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen tag of each position `[B, S]`, -1 for none, and its log-probability there `[B, S]`."""

    # Prediction

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        """Spans of the best tags, those opened by an I- (or E-) tag listed in `notes[ORPHANS]`.

        A span's score is the geometric mean of the probabilities of its words' tags.
        """
        emissions, mask = self.emissions(states)
        tags, log_probs = self.of_words(*self.tag(emissions, mask), states)
        return predicted_spans(self.tags, batch.examples, tags, log_probs)

    def of_words(self, tags: Tensor, log_probs: Tensor, states: States) -> tuple[Tensor, Tensor]:
        """Words' tags `[B, W]`, -1 for none, and their log-probabilities, from those of the tagged positions
        `[B, S]`."""
        return tags, log_probs


def check_first(subwords: str) -> None:
    """Raise `RecipeError` unless `subwords` is "first"."""
    if subwords != "first":
        raise RecipeError(
            f'must be "first", not {subwords!r}',
            where="model.decoder.subwords",
            hint="taggers of all subwords are other parts: `mmkit list-components --registry decoders`",
            code="part.setting",
        )


def predicted_spans(
    tag_set: TagSet, examples: Sequence[Example], tags: Tensor, log_probs: Tensor
) -> list[Prediction]:
    """The spans in words' tags `[B, W]`, -1 for none, and their scores from the tags' log-probabilities `[B, W]`."""
    both = torch.stack([tags.to(log_probs), log_probs]).detach().cpu().numpy()  # one transfer
    ids, log_prob = both[0].astype(np.int64), both[1].astype(np.float64)
    found = tag_set.chunks(ids)
    sums = np.cumsum(np.pad(np.where(ids < 0, 0.0, log_prob), ((0, 0), (1, 0))), axis=1)
    mean = (sums[found.row, found.end] - sums[found.row, found.start]) / (found.end - found.start)
    scores = np.exp(np.minimum(mean, 0.0)).tolist()
    bounds = zip(found.start.tolist(), found.end.tolist(), found.type.tolist(), strict=True)
    spans = [Span(start, end, tag_set.types[type_]) for start, end, type_ in bounds]
    firsts = np.searchsorted(found.row, np.arange(len(examples) + 1)).tolist()
    predictions = []
    for example, own in zip(examples, map(slice, firsts, firsts[1:]), strict=True):
        orphans = [[spans[i].start, spans[i].end] for i in np.flatnonzero(found.orphan[own]) + own.start]
        predictions.append(
            Prediction(
                id=example.id,
                spans=tuple(spans[own]),
                span_scores=tuple(scores[own]),
                notes={ORPHANS: orphans} if orphans else {},
            )
        )
    return predictions


def at_positions(values: Tensor, positions: Tensor) -> Tensor:
    """`values [B, T, K]` at `positions [B, W]`; values at positions below 0 are arbitrary."""
    return values.gather(1, positions.clamp(min=0).unsqueeze(2).expand(-1, -1, values.shape[2]))


def at_least_one(words: Tensor) -> Tensor:
    """`[B, W]` with W at least 1, for batches of only empty sentences."""
    return words if words.shape[1] else nn.functional.pad(words, (0, 1), value=-1)
