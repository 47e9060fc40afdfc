"""Formats on the command line: `--reader` and `--format` by their full or short names, and their settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmkit.errors import MMKitError
from mmkit.terminal import echo

if TYPE_CHECKING:
    from mmkit.data.reader import Reader
    from mmkit.data.writer import Writer

JSONLINES = "mmkit.jsonl.v1"

format_option = click.option(
    "--format",
    "format_",
    metavar="NAME",
    help="The format to write, such as label-studio; `mmkit list-components --registry writers` shows them all.",
)
setting_option = click.option(
    "--setting",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="A setting of --format; may be repeated. `mmkit describe NAME --registry writers` shows all settings.",
)
reader_setting_option = click.option(
    "--reader-setting",
    "reader_settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="A setting of the reader, such as misaligned=expand; may be repeated. "
    "`mmkit describe NAME --registry readers` shows all settings.",
)


def writer_of(name: str | None, settings: Iterable[str]) -> Writer:
    """The writer that the options name. Raises `PartError` for an unknown one or wrong settings."""
    from mmkit.registry import build_part, writers

    with of_options():
        writer: Writer = build_part(
            "writers", writers.full_name(name or JSONLINES), settings_given(settings, "--setting")
        )
    return writer


def settings_given(settings: Iterable[str], option: str) -> dict[str, Any]:
    """`NAME=VALUE` settings of a part, with their values read as those of overrides. `option` is what they came with.

    Raises `click.UsageError` for one without a value.
    """
    from mmkit.recipe import parse_overrides

    written = list(settings)
    for setting in written:
        if "=" not in setting or setting.startswith("="):
            raise click.UsageError(f"{option} {setting}: give it as NAME=VALUE")
    return parse_overrides([f"--{setting}" for setting in written])


_OPTIONS = {"@writers": "--setting", "@readers": "--reader-setting"}


@contextlib.contextmanager
def of_options() -> Iterator[None]:
    """Say of settings of a format that are wrong which option they came with."""
    try:
        yield
    except MMKitError as error:
        if error.where not in _OPTIONS:
            raise
        raise error.at(_OPTIONS[error.where]) from error


def reader_of(
    name: str, path: Path, settings: dict[str, object] | None = None, images: Path | None = None
) -> Reader:
    """The reader of a data file, whose images are in the folder `images`, if it is given.

    Raises `PartError` as `writer_of` does.
    """
    from mmkit import registry
    from mmkit.loading.reading import read, with_images_of

    full = registry.readers.full_name(name)
    elsewhere = {} if images is None else with_images_of(registry.get("readers", full), path, images)
    return read(path, full, **{**elsewhere, **(settings or {})})


def say_losses(writer: Writer) -> None:
    """A line for each kind of thing that the format had no place for."""
    for what, count in writer.losses.items():
        echo(f"not written, because the format has no place for it: {count} × {what}", err=True)
