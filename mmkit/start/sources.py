"""Which files of a folder hold data, and which reader reads each: every reader is asked, and then tried."""

from __future__ import annotations

import os
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmkit import registry
from mmkit.config.parameters import parameters
from mmkit.data.encodings import advice as encoding_advice
from mmkit.data.encodings import guesses
from mmkit.data.expected import records
from mmkit.data.file_kinds import looks_like
from mmkit.data.reader import Guess, Reader
from mmkit.data.types import Entity, Example
from mmkit.data.usual_names import fields_of, renaming
from mmkit.errors import DataError, MMKitError, PartError, listed
from mmkit.start.choices import Choices
from mmkit.start.folder import Folder
from mmkit.start.given import check_names, check_taken, taken, with_option
from mmkit.start.tables import WHAT, setting_of
from mmkit.terminal.notes import few

HEAD = 65536
ENOUGH = 5
"""Files with one ending in one folder that are looked at; if none holds data, the others are not looked at."""
SHOWN = 3
"""Files that no reader knows whose form is described."""
UNKNOWN = "of no known format"
EMPTY = "with nothing in it"
NOT_OPENED = f"not opened: {ENOUGH} files beside them with the same ending hold no data"


@dataclass(frozen=True)
class Source:
    """A file or folder of data, the reader that reads it, and the settings with which it does."""

    path: Path
    reader: str
    settings: Mapping[str, Any]
    what: str
    splits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    entities: bool = False

    @property
    def cls(self) -> type[Reader]:
        cls: type[Reader] = registry.get("readers", self.reader)
        return cls

    def build(self, root: Path | None = None, **more: Any) -> Reader:
        """The reader; paths in settings are relative to `root`, by default the file's folder."""
        root = root or self.path.parent
        place = {"root": str(root), "file": os.path.relpath(self.path, root)}
        first = next(iter(self.splits.values()), {})
        made: Reader = registry.build_part(
            "readers", self.reader, {**place, **self.settings, **first, **more}
        )
        return made


def sources_in(
    folder: Folder, choices: Choices, only: str | None = None, given: Mapping[str, Any] | None = None
) -> list[Source]:
    """The data in a folder. `only` names the one reader that may read it; `given` are settings for readers.

    Raises `DataError` for data that look like a format but cannot be read, and if there are none; `PartError` for
    settings that no reader has, or that have another type.
    """
    readers, broken = _readers(only)
    given = given or {}
    check_names(given, readers)
    found: list[Source] = []
    errors: dict[Path, MMKitError] = {}
    unused: defaultdict[str, list[Path]] = defaultdict(list)
    for path, head in _candidates(folder, found, unused):
        try:
            sources = _recognized(path, head, readers, given, folder, choices)
        except MMKitError as error:
            errors[path] = error
            continue
        found += sources
        if sources or not head:
            continue
        if setting := setting_of(path, head):
            folder.beside[path] = setting
        else:
            unused[UNKNOWN].append(path)
    if errors and not any(not source.entities for source in found):
        wrong = [error for error in errors.values() if isinstance(error, PartError)]  # what was given, first
        raise [*wrong, *errors.values()][0]
    for path, problem in errors.items():
        choices.say(f"not used: {path}, which cannot be read ({problem.what})")
    told = [
        f"{few([str(path.relative_to(folder.path)) for path in paths])}, {why}"
        for why, paths in unused.items()
    ]
    if UNKNOWN in unused:
        told += [f"the reader {name} ({why})" for name, why in broken.items()]
    if not found:
        told += [
            f"{path.relative_to(folder.path)}, {WHAT[setting]}" for path, setting in folder.beside.items()
        ]
        looks, advice = _looks_of(unused[UNKNOWN], folder)
        raise DataError(
            f"no file holds data that a reader knows: {'; '.join(told + looks)}",
            where=folder.path,
            hint="\n  → ".join(
                [
                    *advice,
                    "`mmkit list-components --registry readers` lists the readers, and --reader NAME chooses one; "
                    "docs/data.md shows the format for your own data",
                ]
            ),
            code="init.no-data",
        )
    for what in told:
        choices.say(f"not used: {what}")
    return found


def _looks_of(paths: list[Path], folder: Folder) -> tuple[list[str], list[str]]:
    """What the first files that no reader knows look like, and how they become data."""
    looks, advice = [], []
    for path in paths[:SHOWN]:
        with path.open("rb") as file:
            head = file.read(HEAD)
        seen = looks_like(path)
        if b"\0" in head and seen is None and (found := guesses(path)) and found[0][0].startswith("UTF"):
            looks.append(f"{path.relative_to(folder.path)} is not UTF-8")
            advice.append(encoding_advice(path))
        elif seen is not None and not seen.what.startswith("plain text"):
            looks.append(f"{path.relative_to(folder.path)} looks like {seen.what}")
            renamed = renaming(fields_of(head), Example.__dataclass_fields__)
            if seen.reader:
                place = shlex.quote(str(path if folder.single else folder.path))
                advice.append(f"name its reader: mmkit init {place} --reader {seen.reader}")
            elif how := seen.advice(path):
                advice.append(how)
            elif seen.kind in ("unknown", "") and {"text", "tokens"} & {*fields_of(head), *renamed.values()}:
                names = ", ".join(f"`{old}` into `{new}`" for old, new in renamed.items())
                said = f"rename its fields: {names}" if names else "leave out fields that mmkit does not know"
                advice.append(f"{said}; write one record a line, and mmkit.jsonl.v1 reads it")
    return looks, list(dict.fromkeys(advice))


def _readers(only: str | None) -> tuple[dict[str, type[Reader]], dict[str, str]]:
    """The readers by name, and why others cannot be loaded: their package is broken or lacks an extra."""
    names = [registry.readers.full_name(only)] if only else registry.readers.names()
    found, broken = {}, {}
    for name in names:
        try:
            found[name] = registry.get("readers", name)
        except MMKitError as error:
            if only:
                raise
            broken[name] = error.what
    return found, broken


def _candidates(
    folder: Folder, found: list[Source], unused: Mapping[str, list[Path]]
) -> Iterator[tuple[Path, bytes]]:
    """Folders, then files, with their first bytes; those within a folder that is `found` to be data are left out.

    Files that are passed over are put into `unused`, by the reason.
    """
    for path in folder.folders:
        if not any(path.is_relative_to(source.path) for source in found):
            yield path, b""
    tried: dict[tuple[Path, str], int] = {}
    for path in folder.files:
        if any(path.is_relative_to(source.path) for source in found):
            continue
        kind = (path.parent, path.suffix)
        if tried.get(kind, 0) >= ENOUGH:
            unused[NOT_OPENED].append(path)
            continue
        try:
            with path.open("rb") as file:
                head = file.read(HEAD)
        except OSError as error:
            raise DataError(
                f"cannot be read: {error.strerror}", where=path, code="file.unreadable"
            ) from error
        if not head:
            unused[EMPTY].append(path)
            continue
        before = len(found) + len(folder.beside)
        yield path, head
        known = len(found) + len(folder.beside) > before
        tried[kind] = -10_000 if known else tried.get(kind, 0) + 1


def _recognized(
    path: Path,
    head: bytes,
    readers: Mapping[str, type[Reader]],
    given: Mapping[str, Any],
    folder: Folder,
    choices: Choices,
) -> list[Source]:
    """How a path is read: at most one reader of examples and one of entities."""
    guesses = {name: guess for name, cls in readers.items() if (guess := cls.recognize(path, head))}
    if len(readers) == 1 and not guesses and head:
        guesses = {next(iter(readers)): Guess("what --reader says")}
    if given and not guesses and head:
        guesses = _guessed_by(given, path, readers)
    if any(guess.sure for guess in guesses.values()):
        guesses = {name: guess for name, guess in guesses.items() if guess.sure}
    classes = {name: readers[name] for name in guesses}
    own = [  # a reader that extends another one reads more than this file says
        name
        for name, cls in classes.items()
        if not any(other is not cls and issubclass(cls, other) for other in classes.values())
    ]
    fitting: dict[bool, list[Source]] = {False: [], True: []}
    errors = []
    for name in own:
        guess, own_given = guesses[name], taken(given, classes[name])
        splits = {} if any(set(own_given) & set(inner) for inner in guess.splits.values()) else guess.splits
        source = Source(path, name, {**guess.settings, **own_given}, guess.what, splits)
        try:
            source.build()  # with wrong settings, this is the error
            entities = isinstance(_first(source), Entity)
        except MMKitError as error:
            errors.append(with_option(error, source.cls))
            continue
        fitting[entities].append(replace(source, entities=entities))
    if errors and not any(fitting.values()):
        check_taken(given, own[0])
        raise errors[0]
    return [_one_of(path, some, folder, choices) for some in fitting.values() if some]


def _guessed_by(
    given: Mapping[str, Any], path: Path, readers: Mapping[str, type[Reader]]
) -> dict[str, Guess]:
    """Readers of a file's kind that have all of the `given` settings: such as the names of its columns."""
    looks = looks_like(path)
    if looks is None:
        return {}
    fitting = {
        n: c for n, c in readers.items() if looks.kind in c.kinds and len(taken(given, c)) == len(given)
    }
    return {name: Guess(looks.what, sure=False) for name in fitting}


def _first(source: Source) -> object:
    """The first record. Raises `DataError` if there is none."""
    reader = source.build(**_without_pictures(source.cls))
    reader.errors = []
    for record in records(reader):
        return record
    skipped = ", ".join(f"{count:,} × {reason}" for reason, count in reader.repairs.items())
    raise (
        reader.errors[0]
        if reader.errors
        else DataError(
            "this file has no records" + (f" that can be used: {skipped}" if skipped else ""),
            where=source.path,
            code="data.no-records",
        )
    )


def _without_pictures(cls: type[Reader]) -> dict[str, Any]:
    """Settings with which a reader needs no folder of pictures."""
    return {"blank_images": True} if "blank_images" in parameters(cls) else {}


def _one_of(path: Path, sources: list[Source], folder: Folder, choices: Choices) -> Source:
    if len(sources) == 1:
        return sources[0]
    names = [source.reader for source in sources]
    at = choices.only(
        f"{len(sources)} readers read this file: {listed(names)}. Which one is meant?",
        names,
        where=path,
        hint="name it: --reader NAME",
    )
    return sources[at]
