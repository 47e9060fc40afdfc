"""The files that are to be predicted, the reader of each, and the name of what is written for it."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkit import registry
from mmkit.data.image_paths import ENDINGS as OF_IMAGES
from mmkit.data.reader import Reader
from mmkit.data.regular import open_regular
from mmkit.errors import DataError, MMKitError
from mmkit.loading.reading import with_images_of
from mmkit.terminal.notes import few

JSONLINES = "mmkit.jsonl.v1"
LINES = (".jsonl", ".ndjson", ".jsonlines")
"""Endings of files that are jsonlines whatever they look like."""
ERRORS = "errors.jsonl"
"""The file of broken records in the output folder."""
WORK = ".predict"
"""The folder in the output folder that holds what is needed to go on."""
HEAD = 65536


@dataclass(frozen=True)
class Input:
    """A file to predict. `output` is relative to the output folder."""

    path: Path
    output: str
    reader: str
    settings: dict[str, Any] = field(default_factory=dict)

    def build(self) -> Reader:
        """Its reader, which has read nothing yet. Raises `PartError` for wrong settings."""
        place = {"root": str(self.path.parent), "file": self.path.name}
        reader: Reader = registry.build_part("readers", self.reader, {**place, **self.settings})
        return reader


def found_inputs(
    given: str | Path | Sequence[str | Path],
    output: Path,
    ending: str,
    reader: str | None = None,
    settings: Mapping[str, Any] | None = None,
    images: Path | None = None,
) -> tuple[list[Input], list[str]]:
    """The inputs in the order of their names, and notes about files that are left out.

    `given` are files, folders and patterns such as `posts/*.jsonl`. Hidden files, images and the output folder are left
    out of folders. Without a `reader`, each file is looked at. Readers get `settings`, and look for images in the
    folder `images`, if it is given. Raises `DataError` if a name fits no file, and for files of no known format, and
    `PartError` for settings that a reader does not take.
    """
    names = [given] if isinstance(given, str | Path) else list(given)
    named: dict[Path, None] = {}
    pictures: list[str] = []
    for name in names:
        named.update(dict.fromkeys(_files(Path(name), output, pictures)))
    paths = sorted(named)
    root = Path(os.path.commonpath([path.parent for path in paths]))
    readers = [_reader(path, reader) for path in paths]
    notes = [f"not read: {few(pictures)} (images)"] if pictures else []
    if unknown := [str(path) for path, found in zip(paths, readers, strict=True) if found is None]:
        raise DataError(
            f"no reader knows the format of {few(unknown)}",
            where=unknown[0],
            hint="name the format with --reader (reader=... in Python), or give a pattern that leaves them out: "
            '--input "FOLDER/*.jsonl"',
            code="predict.unknown-format",
        )
    outputs = _outputs([path.relative_to(root) for path in paths], ending)
    inputs = [
        Input(path, out, found[0], {**found[1], **_of_images(found[0], path, images), **(settings or {})})
        for path, out, found in zip(paths, outputs, readers, strict=True)
        if found is not None
    ]
    for one in {one.reader: one for one in inputs}.values() if settings else ():
        one.build()  # wrong settings are refused before anything is written
    for one in inputs:
        if (output / one.output).resolve() == one.path.resolve():
            raise DataError(
                "the predictions would replace their own input",
                where=one.path,
                hint="name another --output folder",
                code="predict.same-folder",
            )
    return inputs, notes


def _of_images(reader: str, path: Path, images: Path | None) -> dict[str, Any]:
    return {} if images is None else with_images_of(registry.get("readers", reader), path, images)


def _files(given: Path, output: Path, pictures: list[str]) -> Iterable[Path]:
    """The files that a name stands for, as absolute paths."""
    if given.is_dir():
        found = []
        for folder, below, files in os.walk(given, followlinks=True):
            below[:] = [
                name
                for name in below
                if not name.startswith(".") and (Path(folder) / name).resolve() != output.resolve()
            ]
            found += [Path(folder) / name for name in files if not name.startswith(".")]
        pictures += [str(path) for path in sorted(found) if path.name.lower().endswith(OF_IMAGES)]
        found = [path for path in found if not path.name.lower().endswith(OF_IMAGES)]
    elif given.exists():
        found = [given]
    else:
        names = map(Path, glob.glob(str(given), recursive=True))  # noqa: PTH207 - a pattern may be absolute
        own = output.resolve()
        found = [path for path in names if path.is_file() and not path.resolve().is_relative_to(own)]
    if not found:
        what = "there is no file to read in this folder" if given.is_dir() else "no file has this name"
        raise DataError(
            what,
            where=given,
            hint="name a file, a folder or a pattern; put a pattern in quotes: --input 'posts/*.jsonl'",
            code="predict.no-input",
        )
    return [Path(os.path.abspath(path)) for path in found]  # noqa: PTH100 - links stay as they are named


def _reader(path: Path, reader: str | None) -> tuple[str, dict[str, Any]] | None:
    """The reader of a file and its settings; None if no reader knows the file."""
    if reader is not None:
        return registry.readers.full_name(reader), {}
    if path.suffix.lower() in LINES:
        return JSONLINES, {}
    try:
        with open_regular(path) as file:
            head = file.read(HEAD)
    except OSError as error:
        raise DataError(
            f"the data file cannot be read: {error.strerror or error}", where=path, code="file.unreadable"
        ) from error
    guesses = []
    for name in registry.readers.names():
        try:
            guess = registry.get("readers", name).recognize(path, head)  # type: ignore[attr-defined]
        except MMKitError:  # a reader whose package is broken reads nothing
            continue
        if guess is not None:
            guesses.append((not guess.sure, name, dict(guess.settings)))
    return min(guesses, key=lambda guess: guess[:2])[1:] if guesses else None


def _outputs(names: Sequence[Path], ending: str) -> list[str]:
    """A name for what is written for each input; those that would be equal keep the ending of their input."""
    short = [name.with_suffix(ending).as_posix() for name in names]
    counts = Counter([ERRORS, *short])
    return [
        f"{name.as_posix()}{ending}" if counts[out] > 1 else out
        for name, out in zip(names, short, strict=True)
    ]
