"""What `mmkit predict --output FILE` may replace: predictions, and no file of the user's."""

from __future__ import annotations

from pathlib import Path

from mmkit.data.answers import is_answer
from mmkit.data.image_paths import ENDINGS
from mmkit.data.regular import open_regular
from mmkit.errors import RunError
from mmkit.files import parsed_json

LONGEST = 1 << 24
"""Bytes of a line that is looked at."""


def check_output(output: Path, format_: str | None) -> None:
    """Raise `RunError` if a file exists that is something else than what is to be written.

    Without a format it must be empty, or begin with an answer. The form of a file of another format is the writer's
    affair, but an image is none.
    """
    if not output.is_file():  # nothing is there, or a device, or a folder, which `atomic` refuses
        return
    if output.name.lower().endswith(ENDINGS) or (format_ is None and not _holds_answers(output)):
        raise RunError(
            "the file exists already, and does not hold predictions: it is not replaced",
            where=output,
            hint="name another file as --output, or remove this one first",
            code="predict.exists",
        )


def _holds_answers(path: Path) -> bool:
    """Whether the first line of a file is what `mmkit predict` writes, or the file is empty."""
    try:
        with open_regular(path) as file:
            line = file.readline(LONGEST)
        return not line or _is_written(parsed_json(line))
    except (OSError, ValueError):
        return False


def _is_written(record: object) -> bool:
    """Whether a JSON value is an answer of any task; relations have a score in answers alone."""
    if is_answer(record):
        return True
    if not isinstance(record, dict) or not record.keys() >= {"id", "text", "tokens", "relations"}:
        return False
    relations = record["relations"]
    return isinstance(relations, list) and all(isinstance(r, dict) and "score" in r for r in relations)
