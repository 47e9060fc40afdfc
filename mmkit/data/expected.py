"""Reading records, with advice if the file is not of the kind that its reader expects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmkit.data.file_kinds import looks_like
from mmkit.data.reader import Reader
from mmkit.data.types import Entity, Example
from mmkit.errors import DataError

OF_ANOTHER_KIND = frozenset(
    {
        *("json.syntax", "json.unreadable", "json.wrong-type", "json.missing-field", "json.unknown-field"),
        *(
            "jsonl.no-header",
            "jsonl.format",
            "jsonl.unknown-kind",
            "jsonl.list",
            "file.wrong-kind",
            "data.no-text",
        ),
        *("conll.columns", "conll.unknown-tag", "conll.no-image-line", "file.not-utf8"),
        *(
            "mnre.syntax",
            "mnre.not-a-dictionary",
            "mnre.line-too-long",
            "wikidiverse.fields",
            "knowledge.fields",
        ),
        *("predictions.unknown-form", "data.wrong-reader"),
    }
)
"""Codes of the errors that a file of another kind causes."""


def records(reader: Reader) -> Iterator[Example | Entity]:
    """What the reader reads. An error in the first record says what the file looks like, if that is another kind."""
    given = False
    try:
        for record in reader:
            given = True
            yield record
    except DataError as error:
        if given:
            raise
        raise of_another_kind(error, reader.path, reader.kinds, reader.form, reader.symptoms) from error
    except (
        OSError
    ) as error:  # from a reader that leaves it to its caller, who may be writing a file of its own
        raise DataError(
            f"the data cannot be read: {error.strerror or error}",
            where=error.filename or reader.path,
            code="file.unreadable",
        ) from error
    errors = reader.errors
    if not given and errors:
        raise of_another_kind(errors[0], reader.path, reader.kinds, reader.form, reader.symptoms)


def of_another_kind(
    error: DataError, path: Path, kinds: frozenset[str], form: str, symptoms: frozenset[str] = frozenset()
) -> DataError:
    """The error, with advice if the file at `path` seems to be none of the `kinds` that can be read.

    `form` says what is expected, and `symptoms` are further codes of such errors. A reader that names no kinds has
    messages of its own.
    """
    if (
        error.code not in OF_ANOTHER_KIND | symptoms
        or not (form and kinds)
        or not error.where.startswith(str(path))
    ):
        return error
    looks = looks_like(path)
    if looks is None or looks.kind in kinds:
        return error
    said = f"the file looks like {looks.what}; expected is {form}"
    advice = looks.advice(path)
    if error.code == "knowledge.fields" and not advice:  # its own hint says what to do
        return error
    told = f"{said}\n  → {advice}" if advice else said
    if error.code == "file.not-utf8" and looks.command and looks.kind not in ("parquet", "tar", "docbin"):
        # a command for text works only after the other conversion
        told = f"{error.hint}\n  → {told}"
    return error.at(error.where, told)
