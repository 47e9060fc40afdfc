"""`tesga.tables.v1`: typed entities, and relations between them, as cells of two tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkit.batch import Batch, Features, States
from mmkit.data.problems import Problem
from mmkit.data.types import Entity, Example, Prediction
from mmkit.decoders.base import Decoder, LabelAxes, Labels, label_names
from mmkit.decoders.examined import relation_problems, type_problems
from mmkit.decoders.tagging import learn_types
from mmkit.errors import DataError, RecipeError, did_you_mean
from mmkit.tasks import JointTask, SpanTask
from mmkit_tesga.fuser import Task
from mmkit_tesga.head import TableHead
from mmkit_tesga.reading import Cells, Overlaps, read_tables


class Table(NamedTuple):
    """A table's task, its labels, and whether only cells with i ≤ j are used."""

    task: Task
    labels: Sequence[str]
    upper: bool


class TableDecoder(Decoder):
    """Marks entities and relations in tables over pairs of subwords (TESGA; Wang et al., 2024).

    An entity is marked at (first subword of its first word, first subword of its last word), a relation at the
    first subwords of head and tail. `types` and `relations` are the labels in order (default: those in the
    training data, sorted). With `tasks = ["entities"]` there is no relation table.

    Cells of at least `threshold` count. A span gets its best type. `overlaps` says how spans that share words are
    treated: "keep" keeps all of them, as the released code does; "nested" drops those that cross a better one; "flat"
    drops those that share a word with a better one. A relation counts if entities begin at both its ends, and joins
    the best of them. With `mask_padding`, the sentence's vector ignores padding; in the released code it does not.

    Few cells are marked, but a new network marks half of them and must first unlearn that. With `prior`, its cells
    start around that probability, as in focal loss (Lin et al., 2017, section 3.3); the paper's do not.

    `cells` of a table are computed together; by default 16,384 on a CPU, and on a GPU as many as fit into an eighth of
    its free memory. More need fewer launches. The number does not change scores; in training it changes the order in
    which dropout is drawn, so set it to repeat a run exactly on another GPU.

    Losses `entities`, `relations`: a sentence's binary cross-entropy summed over its table, over the padded length in
    subwords, mean over sentences. The paper sums over sentences: a weight of `batch_size` does the same.
    """

    captures = "the marked cells of its tables are another number in each batch"
    reads_windows: ClassVar[bool] = True

    def __init__(
        self,
        text: str = "text",
        *,
        tasks: list[Task] | None = None,
        types: list[str] | None = None,
        relations: list[str] | None = None,
        threshold: float = 0.5,
        overlaps: Literal["keep", "nested", "flat"] = "keep",
        dropout: float = 0.1,
        mask_padding: bool = True,
        prior: float | None = None,
        cells: int | None = None,
    ) -> None:
        super().__init__()
        self.tasks: list[Task] = ["entities", "relations"] if tasks is None else tasks
        if "entities" not in self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise RecipeError(
                'tasks are ["entities"] or ["entities", "relations"]',
                hint="tesga.relation_classifier.v1 classifies only relations",
                code="part.setting",
            )
        if relations is not None and "relations" not in self.tasks:
            raise RecipeError(
                "relations are named, but are not among the tasks", hint="leave them out", code="part.setting"
            )
        if not 0 < threshold < 1:
            raise RecipeError(f"threshold must lie between 0 and 1, not {threshold}", code="part.setting")
        if not 0 <= dropout < 1:
            raise RecipeError(
                f"dropout must lie between 0 and 1, not {dropout}",
                hint="0 for no dropout",
                code="part.setting",
            )
        if prior is not None and not 0 < prior < 1:
            raise RecipeError(
                f"prior must lie between 0 and 1, not {prior}", hint="or leave it out", code="part.setting"
            )
        if cells is not None and cells < 1:
            raise RecipeError(
                f"cells must be at least 1, not {cells}", hint="or leave it out", code="part.setting"
            )
        for name, labels in (("types", types), ("relations", relations)):
            if labels is not None and (not labels or len(set(labels)) < len(labels)):
                raise RecipeError(
                    f"{name} must be different names, not {labels}",
                    hint="or leave them out",
                    code="part.label-names",
                )
        self.requires = frozenset({"mask", "first_subword", *self.tasks})
        self.text, self.types, self.relations = text, types, relations
        self.threshold, self.dropout, self.mask_padding = threshold, dropout, mask_padding
        self.overlaps: Overlaps = overlaps
        self.task = JointTask() if "relations" in self.tasks else SpanTask()
        self.prior, self.cells = prior, cells

    def fit(self, examples: Iterable[Example]) -> Labels:
        examples = list(examples)
        labels = {"types": list(learn_types(examples, self.types))}
        if "relations" in self.tasks:
            found = {_label(r.label, x) for x in examples for r in x.relations}
            if not found and self.relations is None:
                raise DataError(
                    "no training example has a relation",
                    hint="is this the right file?",
                    code="task.no-relations",
                )
            labels["relations"] = self.relations or sorted(found)
        return labels

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        self.tables = [Table("entities", label_names(labels, "types"), upper=True)]
        if "relations" in self.tasks:
            self.tables.append(Table("relations", label_names(labels, "relations"), upper=False))
        heads: dict[str, TableHead] = {
            t.task: TableHead(dims[t.task], len(t.labels), self.dropout, self.cells) for t in self.tables
        }
        if self.prior is not None:
            for head in heads.values():
                torch.nn.init.constant_(head.labels.bias, math.log(self.prior / (1 - self.prior)))
        self.heads = torch.nn.ModuleDict(heads)
        self._ids = {t.task: {name: i for i, name in enumerate(t.labels)} for t in self.tables}

    def label_axes(self) -> Mapping[str, LabelAxes] | None:
        kinds = {"entities": "types", "relations": "relations"}
        axes: dict[str, LabelAxes] = {}
        for table in self.tables:
            axes[f"heads.{table.task}.labels.weight"] = (kinds[table.task], None)
            axes[f"heads.{table.task}.labels.bias"] = (kinds[table.task],)
        return axes

    def examine(self, examples: Sequence[Example], *, annotated: bool = True) -> Iterable[Problem]:
        yield from super().examine(examples, annotated=annotated)
        yield from type_problems(examples, self.types)
        if "relations" in self.tasks:
            yield from relation_problems(examples, self.relations)

    def check(self, examples: Sequence[Example]) -> None:
        for example in examples:
            self._marks(example)

    # Training

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """`entities [N, 4]`, `relations [M, 4]`: sentence, row, column and label of every marked cell.

        Words that were cut off mark no cells.
        """
        first = self._first_subwords(inputs)
        return {task: self._cells(task, examples, first) for task in self._ids}

    def _first_subwords(self, inputs: Mapping[str, Features]) -> Tensor:
        texts = [name for name, tensors in inputs.items() if "first_subword" in tensors]
        if self.text not in texts:
            raise RecipeError(
                f"the encoder {self.text!r} encodes no words",
                where="model.decoder.text",
                hint=did_you_mean(self.text, texts),
                code="part.no-word-encoder",
            )
        return inputs[self.text]["first_subword"]

    def _cells(self, task: Task, examples: Sequence[Example], first: Tensor) -> Tensor:
        words = [(row, *mark) for row, example in enumerate(examples) for mark in self._marks(example)[task]]
        cells = torch.tensor(words, dtype=torch.long).reshape(-1, 4)
        at = first[cells[:, :1], cells[:, 1:3]]
        cells = torch.cat([cells[:, :1], at, cells[:, 3:]], dim=1)
        return cells[(at >= 0).all(1)]

    def _marks(self, example: Example) -> dict[Task, list[tuple[int, int, int]]]:
        """Row and column in words, and label, of an example's cells. Raises `DataError` for an unknown label."""
        marks: dict[Task, list[tuple[int, int, int]]] = {
            "entities": [(s.start, s.end - 1, self._id("entities", s.label, example)) for s in example.spans]
        }
        if "relations" in self._ids:
            marks["relations"] = [
                (r.head.start, r.tail.start, self._id("relations", _label(r.label, example), example))
                for r in example.relations
            ]
        return marks

    def _id(self, task: Task, label: str, example: Example) -> int:
        ids = self._ids[task]
        if label not in ids:
            what = "type" if task == "entities" else "relation"
            raise DataError(
                f"the {what} {label!r} is unknown",
                where=example.id,
                hint=did_you_mean(label, ids),
                code="tesga.unknown-label",
            )
        return ids[label]

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        return {table.task: self._loss(table, states, targets[table.task]) for table in self.tables}

    def _loss(self, table: Table, states: States, cells: Tensor) -> Tensor:
        mask = states["mask"].bool()
        batch, length = mask.shape
        marked = torch.zeros(batch, length, length, len(table.labels), dtype=torch.bool, device=mask.device)
        marked[cells.unbind(1)] = True
        total = torch.zeros((), device=mask.device)
        for rows, columns, scores in self._blocks(table, states):
            real = _real(mask, table.upper, rows, columns).unsqueeze(3)
            wanted = marked[:, rows, columns].float()
            losses = F.binary_cross_entropy_with_logits(scores.float(), wanted, reduction="none")
            total = total + losses.masked_fill(~real, 0.0).sum()
        return total / (batch * length)

    def _blocks(self, table: Table, states: States) -> Iterable[tuple[slice, slice, Tensor]]:
        head: TableHead = self.heads[table.task]  # type: ignore[assignment]
        return head.blocks(
            states[table.task], states["mask"].bool() if self.mask_padding else None, table.upper
        )

    # Prediction

    def probabilities(self, states: States, task: Task) -> Tensor:
        """A whole table `[B, T, T, R]`: zero on padding and, for entities, below the diagonal."""
        table = next(t for t in self.tables if t.task == task)
        mask = states["mask"].bool()
        batch, length = mask.shape
        whole = torch.zeros(batch, length, length, len(table.labels), device=mask.device)
        for rows, columns, scores in self._blocks(table, states):
            real = _real(mask, table.upper, rows, columns).unsqueeze(3)
            whole[:, rows, columns] = scores.float().sigmoid().masked_fill(~real, 0.0)
        return whole

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        """Entities and relations with the probabilities of their cells as scores."""
        found = {table.task: self._found(table, states) for table in self.tables}
        first = states["first_subword"].cpu().numpy()
        labels = {table.task: table.labels for table in self.tables}
        return read_tables(batch.examples, first, found, labels, self.overlaps)

    def _found(self, table: Table, states: States) -> Cells:
        """The cells with at least `threshold`, on the CPU."""
        mask = states["mask"].bool()
        where, scores = [], []
        for rows, columns, block in self._blocks(table, states):
            real = _real(mask, table.upper, rows, columns).unsqueeze(3)
            probabilities = block.float().sigmoid().masked_fill(~real, 0.0)
            cells = (probabilities >= self.threshold).nonzero()
            scores.append(probabilities[cells.unbind(1)])
            where.append(cells + cells.new_tensor([0, rows.start, columns.start, 0]))
        return Cells(torch.cat(where).cpu().numpy(), torch.cat(scores).cpu().numpy())


def _real(mask: Tensor, upper: bool, rows: slice, columns: slice) -> Tensor:
    """Which cells of a block are on real positions and, with `upper`, not below the diagonal: `[B, rows, columns]`."""
    real = mask[:, rows].unsqueeze(2) & mask[:, columns].unsqueeze(1)
    return real.triu(columns.start - rows.start) if upper else real


def _label(label: str | None, example: Example) -> str:
    if label is None:
        raise DataError(
            "a relation without a label cannot be trained on", where=example.id, code="task.no-label"
        )
    return label
