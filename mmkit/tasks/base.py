"""The contract of a task: what a user gives a model, how it is processed, and how the answer looks."""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape as escape_html
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmkit.data.problems import Problem
from mmkit.data.types import Entity, Example, Image, Prediction
from mmkit.errors import DataError, PartError, did_you_mean, listed, printable
from mmkit.tasks.answer import Answer
from mmkit.tasks.remarks import remarks
from mmkit.tasks.schema import Schema
from mmkit.tasks.sentence import plain_example

if TYPE_CHECKING:
    from rich.console import Console

Kind = Literal["words", "text", "id", "number", "json"]

TAKEN = frozenset(
    {
        *("text", "texts", "image", "images", "input", "run", "split", "output", "entities"),
        *("missing_images", "batch_size", "limit", "json", "device", "schema", "top", "help", "debug"),
        *("format", "reader", "reader_setting", "setting", "settings"),
        *("allow_network", "workers", "strict", "search"),
    }
)
"""Names of inputs that all models have, in Python or on the command line: no input of a task can have such a name."""

SHORT = 70
"""The number of characters of a description or a source that a terminal shows."""


@dataclass(frozen=True)
class Input:
    """An input of a task, besides text and images.

    It is the keyword argument `name` of `Predictor.predict`, and `--name` (or `--option`) of `mmkit predict`. Kinds:
    `words` of the text (in Python also token bounds [start, end)), any `text`, the `id` of an entity, a `number`, or
    any `json`. With `many` it is a list, and the option may be repeated.
    """

    name: str
    help: str
    kind: Kind = "text"
    many: bool = False
    required: bool = False
    option: str = ""

    def __post_init__(self) -> None:
        clash = TAKEN & {self.name, self.option or self.name}
        if clash or not self.name.isidentifier():
            raise PartError(
                f"a task's input cannot be called {self.name!r}", hint="choose another name", code="part.task"
            )

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + (self.option or self.name).replace("_", "-")


@dataclass(frozen=True)
class Survey:
    """A task's report on a split of a dataset before training."""

    lines: tuple[str, ...] = ()
    """The content of the split, for people."""
    problems: tuple[str | Problem, ...] = ()
    """Problems because of which examples cannot be trained on; in other splits, these examples count as wrong."""
    warnings: tuple[str | Problem, ...] = ()
    """Things that a user should know."""
    refused: tuple[Problem, ...] = ()
    """What stops a run, whatever split it is in."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The same as JSON."""


class Task(ABC):
    """What a decoder does, for everything around it: prediction, checks, the command line, reports, servers.

    The order of calls: `example` makes an `Example` of a user's request (or a reader has made one), `check_input`
    says whether the decoder can work on it, `question` removes what is to be found, and `answer` reads the decoder's
    `Prediction`. Instances have no state that changes, and do not import torch.
    """

    name: str
    """What it finds, in a word or two: "relations"."""
    does_not: str
    """Completes "this model ..." in the error if another model gets this task's inputs: "classifies no pairs"."""
    answer_type: type[Answer]
    """The class of its answers."""
    inputs: tuple[Input, ...] = ()
    """Its inputs besides text and images."""
    metrics: tuple[str, ...] = ()
    """Registered metrics that fit; the usual one is first."""
    reads_entities: bool = False
    """Whether its answers are entities of a knowledge base, which a user may replace."""
    finds: frozenset[str] = frozenset()
    """The fields of a prediction that its answers contain: some of `spans`, `relations` and `links`."""

    # What it is asked

    def example(
        self,
        text: str | Sequence[str],
        images: Sequence[str | Path | Image | None] | None = (),
        given: Mapping[str, Any] | None = None,
        entities: Sequence[Entity] = (),
        id: str = "input",
    ) -> Example:
        """An example of a user's own: a sentence (or its tokens), images, and the task's inputs by name.

        Raises `DataError`: first for unknown inputs, then for missing ones, then for wrong ones.
        """
        given = {name: value for name, value in (given or {}).items() if not _nothing(value)}
        self.check_names(given, id)
        self.check_given(given, id)
        example = self.asked(plain_example(text, images, id), given, entities)
        self.check_words(example, given)
        self.check_input(example)
        return example

    def check_names(self, given: Mapping[str, Any], where: str) -> None:
        """Refuse inputs that this task does not have, and say if another task has them."""
        unknown = [name for name in given if name not in {i.name for i in self.inputs}]
        if not unknown:
            return
        for other in known_tasks():
            flags = {i.name: i.flag for i in other.inputs}
            theirs = [name for name in unknown if name in flags]
            if theirs:
                means = "mean" if len(theirs) > 1 else "means"
                raise DataError(
                    f"this model {other.does_not}, so {listed(theirs)} {means} nothing to it",
                    where=where,
                    hint=f"remove {listed([flags[name] for name in theirs])}",
                    code="input.not-for-task",
                )
        known = [i.name for i in self.inputs]
        raise DataError(
            f"this model has no input {unknown[0]!r}",
            where=where,
            hint=did_you_mean(unknown[0], known) if known else "it only takes a text and images",
            code="input.unknown",
        )

    def check_entities(self, where: object) -> None:
        """Refuse a knowledge base that a model without entities is given."""
        if not self.reads_entities:
            raise DataError(
                "this model answers from no knowledge base, so entities mean nothing to it",
                where=where,
                hint="leave out --entities",
                code="input.not-for-task",
            )

    def check_given(self, given: Mapping[str, Any], where: str) -> None:
        """Refuse a request without a required input."""
        lacking = [i for i in self.inputs if i.required and i.name not in given]
        if lacking:
            raise DataError(
                f"this model needs {listed([i.name for i in lacking])} too",
                where=where,
                hint=f"give {listed([i.flag for i in lacking])}, or {lacking[0].name}=... in Python",
                code="input.missing",
            )

    def asked(self, example: Example, given: Mapping[str, Any], entities: Sequence[Entity]) -> Example:
        """The example with the inputs added. Raises `DataError` for inputs that do not fit the example."""
        return example

    def check_words(self, example: Example, given: Mapping[str, Any]) -> None:
        """Refuse a user's sentence without words."""
        if not example.tokens:
            raise DataError(
                "the text has no words", where=example.id, hint="give a sentence", code="input.no-words"
            )

    def check_input(self, example: Example) -> None:  # noqa: B027 - few tasks need more than a sentence
        """Raise `DataError` for an example, of any origin, without something that this task needs."""

    @abstractmethod
    def question(self, example: Example) -> Example:
        """The example without what is to be found. To predict, the decoder sees only this."""

    # What it answers

    def right(self, example: Example) -> Prediction:
        """The prediction of a model that is always right, with which checks try the metrics.

        Override it if predictions contain more than spans, relations and links: a note, for example.
        """
        return Prediction.of(example)

    def answer(self, example: Example, prediction: Prediction, entities: Sequence[Entity] = ()) -> Answer:
        """A prediction with the words and names for people.

        Raises `PartError` if the decoder predicts something that the answer has no field for, so that nothing is lost
        silently.
        """
        for kind in ("spans", "relations", "links"):
            if kind not in self.finds and getattr(prediction, kind):
                raise PartError(
                    f"the decoder predicts {kind}, but answers of its task ({self.name}) have no field for them",
                    where=example.id,
                    hint="the decoder's author must set a `task` that fits",
                    code="part.task",
                )
        return self.answered(example, prediction, entities)

    @abstractmethod
    def answered(self, example: Example, prediction: Prediction, entities: Sequence[Entity]) -> Answer:
        """The answer, made with `answer_type.of`."""

    def schema(self) -> Schema:
        """The JSON schema of `answer(...).to_dict()`."""
        dialect = "https://json-schema.org/draft/2020-12/schema"
        return {"$schema": dialect, "title": self.answer_type.__name__, **self.answer_type.schema()}

    def describe(self) -> dict[str, Any]:
        """What the task is, as JSON."""
        inputs = [
            {
                "name": i.name,
                "option": i.flag,
                "help": i.help,
                "kind": i.kind,
                "many": i.many,
                "required": i.required,
            }
            for i in self.inputs
        ]
        return {"name": self.name, "inputs": inputs, "metrics": list(self.metrics), "answer": self.schema()}

    def render(self, answer: Answer, console: Console) -> None:
        """Show an answer on a terminal: the sentence, its images, what was found and the sources."""
        console.print(f"[bold]{shown(answer.text)}[/bold]")
        for i, path in enumerate(answer.images):
            console.print(f"  [dim]{shown(path or 'a blank image')}[/dim]{_left(i, answer)}")
        lines = list(self.lines(answer))
        for line in lines or ["[dim]nothing found[/dim]"]:
            console.print(f"  {line}")
        for source in answer.sources:
            console.print(f"  {_source(source)}")
        for remark in remarks(answer):
            console.print(f"  [yellow]{shown(remark)}[/yellow]")

    def lines(self, answer: Answer) -> Iterator[str]:
        """What was found, as lines of rich's markup; data go through `shown`. Default: the answer's own fields."""
        for name, value in _own(answer).items():
            yield f"{shown(name)}: {shown(json.dumps(value, ensure_ascii=False))}"

    def html(self, answer: Answer) -> str:
        """The answer as HTML: an `article` without scripts or styles, data escaped."""
        photos = "".join(
            f"<figure><figcaption>{escape_html(path or 'a blank image')}{_left(i, answer)}</figcaption></figure>"
            for i, path in enumerate(answer.images)
        )
        told = "".join(f'<p class="remark">{escape_html(remark)}</p>' for remark in remarks(answer))
        return f'<article class="mmkit-answer">{self.html_of(answer)}{photos}{told}</article>'

    def html_of(self, answer: Answer) -> str:
        """The part of `html` that shows the sentence and what was found in it."""
        rows = "".join(
            f"<dt>{escape_html(name)}</dt><dd>{escape_html(json.dumps(value, ensure_ascii=False))}</dd>"
            for name, value in _own(answer).items()
        )
        return f"<p>{escape_html(answer.text)}</p><dl>{rows}</dl>"

    # What it is trained on

    def labels(self, example: Example) -> Iterator[tuple[str, str]]:
        """(kind, label) of all annotations of an example: `("spans", "PER")`."""
        yield from ()

    def survey(self, examples: Sequence[Example], entities: Sequence[Entity] = ()) -> Survey:
        """A report on a split, and on what its examples lack for training."""
        return Survey()

    def check_training(self, examples: Sequence[Example], entities: Sequence[Entity] = ()) -> list[str]:
        """Problems because of which these examples cannot be trained on."""
        found = self.survey(examples, entities)
        return [str(problem) for problem in (*found.refused, *found.problems)]


def _left(image: int, answer: Answer) -> str:
    """What is said beside an image that the model did not look at."""
    return "  (not looked at by this model)" if image in answer.unread_images else ""


def shown(text: object) -> str:
    """Data for a terminal: without control characters, and safe in rich's markup."""
    from rich.markup import escape

    return escape(printable(str(text)))


def shortened(text: object) -> str:
    """The beginning of a long text for a terminal, cut at a word."""
    from textwrap import shorten

    return shown(shorten(str(text), SHORT, placeholder=" ..."))


def _source(source: Mapping[str, Any]) -> str:
    number = source.get("score")
    told = f"{number:.3f}" if isinstance(number, int | float) else "     "
    about = shortened(source.get("caption") or source.get("text") or "")
    title, by = shown(source.get("title", "")), shown(source.get("by", ""))
    return f"[dim]{told}[/dim]  [cyan]{title}[/cyan]  [dim]{about}  ({by})[/dim]"


def _own(answer: Answer) -> dict[str, Any]:
    """An answer's fields, without those that all answers have."""
    common = Answer.__dataclass_fields__
    return {name: value for name, value in answer.to_dict().items() if name not in common}


def _nothing(value: Any) -> bool:
    """Whether an input was left out: None, or an empty list."""
    return value is None or (isinstance(value, list | tuple) and not value)


def known_tasks() -> list[Task]:
    """A task of each kind that is imported and needs no settings: the core's, and those of imported plugins."""
    return [
        kind()
        for kind in _kinds_of(Task)  # type: ignore[type-abstract]
        if not inspect.isabstract(kind) and not inspect.signature(kind).parameters
    ]


def _kinds_of(cls: type[Task]) -> Iterator[type[Task]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _kinds_of(sub)
