"""Print lines on a terminal: `echo`, and `quiet_controls` for log messages. For tables see `mmkit.terminal.rendering`.

Data, paths and names may contain escape sequences, which move the cursor, write to the clipboard or change the
writing direction. Here they become visible characters. Commands print only in these two ways (a test checks it).
"""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from mmkit.errors import printable

LINES = "\n\t"
"""Control characters that are allowed in texts of several lines."""


def echo(text: object = "", *, err: bool = False) -> None:
    """Print a line (or lines) on standard output, or on standard error."""
    click.echo(printable(str(text), keep=LINES), err=err)


def error_line(title: str, text: object, colour: str = "red") -> None:
    """Print a message on standard error, under a title in bold: `error: ...`."""
    click.echo(
        f"{click.style(title, fg=colour, bold=colour == 'red')} {printable(str(text), keep=LINES)}", err=True
    )


def echo_traceback(error: BaseException) -> None:
    """Print an error's traceback on standard error; its message may contain data."""
    echo("".join(traceback.format_exception(error)).rstrip("\n"), err=True)


@contextmanager
def quiet_controls() -> Iterator[None]:
    """Remove control characters from log lines and warnings, which libraries and parts write themselves."""
    before = logging.getLogRecordFactory()
    plain = warnings.formatwarning

    def formatted(*arguments: Any, **options: Any) -> str:
        return printable(plain(*arguments, **options), keep=LINES)

    logging.setLogRecordFactory(_Record)
    warnings.formatwarning = formatted
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)
        warnings.formatwarning = plain


class _Record(logging.LogRecord):
    """A log record whose message cannot control a terminal."""

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        return printable(super().getMessage(), keep=LINES)
