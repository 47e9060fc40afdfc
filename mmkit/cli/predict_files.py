"""`mmkit predict --output FOLDER`: each file of the input becomes one file of predictions."""

from __future__ import annotations

import os
from collections.abc import Iterable
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmkit.cli.formats import of_options, settings_given
from mmkit.cli.options import console_display
from mmkit.terminal import echo

if TYPE_CHECKING:
    from mmkit.encoders.items import MissingPolicy


def is_of_files(
    input_: Path | None, output: str | None, workers: int | None, reader: str | None, format_: str | None
) -> bool:
    """Whether the options ask for a folder of predictions, in place of one file or the screen."""
    if input_ is None:
        return False
    if workers is not None or (has_magic(str(input_)) and not input_.exists()):
        return True
    if output is None or _is_of_folders(format_):  # such a writer makes one folder of all
        return False
    into_folder = output.endswith(os.sep) or Path(output).is_dir()
    return into_folder or (input_.is_dir() and reader is None)


def _is_of_folders(format_: str | None) -> bool:
    """Whether a format is a folder of files."""
    if format_ is None:
        return False
    from mmkit import registry

    writer: Any = registry.get("writers", registry.writers.full_name(format_))
    return not writer.ending


def predict_into_folder(
    run: Path,
    input_: Path,
    output: str | None,
    *,
    workers: int | None,
    settings: Iterable[str],
    reader_settings: Iterable[str],
    missing_images: MissingPolicy | None,
    **options: Any,
) -> None:
    """Predict files, with a bar of progress, and say what was written."""
    if output is None:
        raise click.UsageError("give a folder as --output: --workers and several files need one")
    from mmkit.inference.shards.files import predict_files

    with console_display(quiet=False) as display, of_options():
        written = predict_files(
            run,
            input_,
            output,
            workers=workers,
            settings=settings_given(settings, "--setting"),
            reader_settings=settings_given(reader_settings, "--reader-setting"),
            missing_images=missing_images or "error",
            hooks=[display],
            **options,
        )
    echo(written, err=True)
