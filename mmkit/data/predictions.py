"""Gold annotations and predictions of any origin, paired by id so that a metric can score them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from mmkit.data.answers import answered
from mmkit.data.expected import of_another_kind
from mmkit.data.json_text import parse_line
from mmkit.data.jsonlines import Record, read_jsonl
from mmkit.data.lines import numbered_lines
from mmkit.data.records import Node
from mmkit.data.strings import STRINGS
from mmkit.data.types import Example, Prediction
from mmkit.errors import DataError


class PublishedForm(Protocol):
    """A format in which somebody publishes predictions and gold data; a plugin names it in `mmkit_prediction_forms`.

    A form that lists only the examples in which something is to be found, or was, has `lists_all = False`.
    """

    description: str
    """The name of such a file in messages: "the JSON list that ... publish"."""

    def claims(self, line: str) -> bool:
        """Whether a file that begins with this line, which is not empty, is of the form."""

    def read(self, path: Path) -> Iterable[tuple[Example, Prediction]]:
        """Each example with its gold annotations, and what was predicted for it. Raises `DataError`."""


Form = Literal["canonical", "described"] | PublishedForm
Forms = Sequence[PublishedForm]


class Told(NamedTuple):
    """A prediction, and the tokens that its spans count if the file contains them."""

    prediction: Prediction
    tokens: tuple[str, ...] | None


def read_gold(path: Path, forms: Forms = ()) -> list[Example]:
    """The examples of canonical jsonlines (`mmkit convert` makes them), or of a file in one of the `forms`.

    Raises `DataError` for any other file, and if an id occurs twice.
    """
    match _form(path, forms):
        case "canonical":
            examples = [_example(record, path) for record in read_jsonl(path)]
        case "described":
            raise DataError(
                "the file holds predictions",
                where=path,
                hint="gold data are what `mmkit convert` writes",
                code="file.wrong-kind",
            )
        case form:
            examples = [example for example, _ in _published(form, path, forms)]
    _refuse_twice((example.id for example in examples), path)
    return examples


def read_predictions(path: Path, forms: Forms = ()) -> list[Told]:
    """The predictions of jsonlines, of the output of `mmkit predict`, or of a file in one of the `forms`.

    Examples are read as predictions too. Raises `DataError` for any other file, and if there are two predictions for
    one id.
    """
    match _form(path, forms):
        case "canonical":
            found = [_told(record, path) for record in read_jsonl(path)]
        case "described":
            found = list(_described(path))
        case form:
            found = [Told(prediction, None) for _, prediction in _published(form, path, forms)]
    _refuse_twice((prediction.id for prediction, _ in found), path)
    return found


def lists_all(path: Path, forms: Forms = ()) -> bool:
    """Whether a file has a record for every example, also for those in which nothing is to be found, or was.

    The class of a published form says so with `lists_all = False`.
    """
    return bool(getattr(_form(path, forms), "lists_all", True))


def completed(
    examples: Sequence[Example], told: Sequence[Told], gold_partial: bool, told_partial: bool
) -> tuple[list[Example], list[Told]]:
    """Gold data and predictions, with an empty record for each that a partial list leaves out (see `lists_all`)."""
    gold, found = {example.id for example in examples}, {some.prediction.id for some in told}
    empty = (Example.from_tokens(id, ()) for id in sorted(found - gold) if gold_partial)
    nothing = (Told(Prediction(id), None) for id in sorted(gold - found) if told_partial)
    return [*examples, *empty], [*told, *nothing]


def matched(
    examples: Sequence[Example], told: Sequence[Told], where: Path, in_order: bool = False
) -> list[Prediction]:
    """The prediction for each example: the one with its id or, with `in_order`, the one at its position.

    Raises `DataError` for missing and superfluous predictions, and for one that counts other tokens than its example.
    """
    if not in_order:
        told = _by_id(examples, told, where)
    elif len(told) != len(examples):
        raise DataError(
            f"{len(told)} predictions for {len(examples)} examples", where=where, code="predictions.count"
        )
    return [_fitting(example, some, where) for example, some in zip(examples, told, strict=True)]


def _by_id(examples: Sequence[Example], told: Sequence[Told], where: Path) -> list[Told]:
    found = {some.prediction.id: some for some in told}
    missing = [example.id for example in examples if example.id not in found]
    superfluous = list(found.keys() - {example.id for example in examples})
    if not missing and not superfluous:
        return [found[example.id] for example in examples]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(examples)} examples have no prediction: {_first(missing)}")
    if superfluous:
        named = _first(sorted(superfluous))
        problems.append(f"{len(superfluous)} of {len(found)} predictions are for no example: {named}")
    raise DataError(
        "; ".join(problems),
        where=where,
        hint="every example needs its prediction; if only the ids differ, --in-order pairs them by their positions",
        code="predictions.unmatched",
    )


def _first(ids: Sequence[str], number: int = 3) -> str:
    return ", ".join(map(repr, ids[:number])) + (", ..." if len(ids) > number else "")


def _fitting(example: Example, told: Told, where: Path) -> Prediction:
    """The prediction under its example's id."""
    prediction, tokens = told
    if tokens is not None and tokens != example.tokens:
        raise DataError(
            f"the prediction for {example.id!r} was made of other tokens than the example has",
            where=where,
            hint="predict from the gold file itself: mmkit predict RUN --input GOLD --output FILE",
            code="predictions.other-tokens",
        )
    spans = [*prediction.spans, *(end for r in prediction.relations for end in (r.head, r.tail))]
    last = max((span.end for span in spans), default=0)
    if last > len(example.tokens):
        raise DataError(
            f"a span predicted for {example.id!r} ends at token {last} of a sentence of {len(example.tokens)} tokens",
            where=where,
            code="data.span-outside",
        )
    return prediction if prediction.id == example.id else replace(prediction, id=example.id)


def _refuse_twice(ids: Iterable[str], where: Path) -> None:
    seen = set()
    for id in ids:
        if id in seen:
            raise DataError(f"the id {id!r} occurs twice", where=where, code="data.duplicate-id")
        seen.add(id)


def _form(path: Path, forms: Forms) -> Form:
    """The kind of a file, by its first line."""
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        for form in forms:
            if form.claims(line.strip()):
                return form
        where = f"{path}:{number}"
        try:
            record = parse_line(line, where)
        except DataError as error:
            raise _of_another_kind(error.at(where, error.hint or _known(forms)), path, forms) from error
        if isinstance(record, dict) and "format" in record:
            return "canonical"
        if isinstance(record, dict) and record.keys() >= {"id", "text", "tokens"}:
            return "described"
        unknown = DataError(
            "neither a header of jsonlines nor a prediction",
            where=where,
            hint=_known(forms),
            code="predictions.unknown-form",
        )
        raise _of_another_kind(unknown, path, forms)
    raise DataError("the file is empty", where=path, hint=_known(forms), code="file.empty")


def _published(form: PublishedForm, path: Path, forms: Forms) -> list[tuple[Example, Prediction]]:
    """What a file in a published form holds."""
    try:
        return list(form.read(path))
    except DataError as error:
        raise _of_another_kind(error, path, forms) from error


def _of_another_kind(error: DataError, path: Path, forms: Forms) -> DataError:
    own = frozenset({"jsonl-examples", "jsonl-entities", "jsonl-predictions"})
    return of_another_kind(error, path, own, _known(forms).removeprefix("it may be "))


def _known(forms: Forms) -> str:
    jsonlines = "jsonlines as `mmkit convert` and predictions/<split>.jsonl have them"
    others = ["the output of `mmkit predict`", *(form.description for form in forms)]
    return (
        f"it may be {', '.join([jsonlines, *others[:-1]])} or {others[-1]}; a plugin may read further forms"
    )


def _example(record: Record, path: Path) -> Example:
    if not isinstance(record, Example):
        held = "predictions" if isinstance(record, Prediction) else "entities"
        raise DataError(
            f"the file holds {held}, not examples",
            where=path,
            hint="gold data are what `mmkit convert` writes",
            code="file.wrong-kind",
        )
    return record


def _told(record: Record, path: Path) -> Told:
    match record:
        case Prediction():
            return Told(record, None)
        case Example():
            told = Prediction.of(record)
            notes = {key: note for key, note in record.notes.items() if key == STRINGS}
            return Told(replace(told, notes={**told.notes, **notes}), record.tokens)
    raise DataError("the file holds entities, not predictions", where=path, code="file.wrong-kind")


def _described(path: Path) -> Iterator[Told]:
    """The output of `mmkit predict`, one JSON object on each line."""
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        node = Node(parse_line(line, where), where)
        node.object()
        yield Told(answered(node), node["tokens"].strings())
