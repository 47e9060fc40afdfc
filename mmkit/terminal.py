"""How lines reach a terminal: `echo`, and `quiet_controls` for what is logged. Tables: `mmkit.rendering`.

Data, paths and names may hold escape sequences, which move the cursor, write the clipboard or turn the direction of
writing. Here they become visible characters. Commands print in these two ways alone (a test looks).
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
"""Control characters that texts of several lines may have."""


def echo(text: object = "", *, err: bool = False) -> None:
    """Print a line (or lines) on standard output, or on standard error."""
    click.echo(printable(str(text), keep=LINES), err=err)


def error_line(title: str, text: object, colour: str = "red") -> None:
    """Print a message on standard error, under a title in bold: `error: ...`."""
    click.echo(
        f"{click.style(title, fg=colour, bold=colour == 'red')} {printable(str(text), keep=LINES)}", err=True
    )


def echo_traceback(error: BaseException) -> None:
    """Print an error's traceback, whose message may hold data, on standard error."""
    echo("".join(traceback.format_exception(error)).rstrip("\n"), err=True)


@contextmanager
def quiet_controls() -> Iterator[None]:
    """Keep control characters out of log lines and warnings, which libraries and parts write by themselves."""
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
    """A log record whose message controls no terminal."""

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        return printable(super().getMessage(), keep=LINES)
