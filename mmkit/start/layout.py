"""Which file is which split: by the names of files and folders, or as shares of one file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkit.errors import DataError, listed
from mmkit.start.choices import Choices
from mmkit.start.folder import Folder
from mmkit.start.sources import Source
from mmkit.terminal.notes import few

WORDS = {
    "train": ("train", "training", "trn"),
    "dev": ("dev", "devel", "development", "val", "valid", "validation", "testa"),
    "test": ("test", "testing", "tst", "testb", "eval"),
}
"""What splits are called in the names of files and folders."""


@dataclass(frozen=True)
class Part:
    """A split: the data that hold it, and the settings that read it."""

    source: Source
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Layout:
    """The splits of a recipe and its knowledge base; `shared` are those that are parts of one file."""

    parts: dict[str, Part]
    shared: tuple[str, ...] = ()
    entities: Source | None = None


def split_of(path: Path, folder: Path) -> str:
    """The split that a path's names say, the file's own before its folders'; empty if they say none."""
    try:
        names = path.relative_to(folder).parts
    except ValueError:
        names = (path.name,)
    for name in reversed(names):
        stem = name.partition(".")[0] if name == path.name else name
        for word in reversed(re.split(r"[^a-z]+", stem.lower())):
            for split, words in WORDS.items():
                if word in words:
                    return split
    return ""


def layout_of(sources: Sequence[Source], folder: Folder, choices: Choices) -> Layout:
    """The splits among the sources. Raises `DataError` if it is not clear which file is which."""
    examples = [source for source in sources if not source.entities]
    if not examples:
        raise DataError(
            "there are entities, but no posts to train on",
            where=folder.path,
            hint="put your posts beside the knowledge base",
            code="init.no-data",
        )
    chosen = _one_format(examples, folder, choices)
    parts, unnamed = _named(chosen, folder, choices)
    if unnamed:
        if "train" in parts:
            choices.say(f"not used: {_names(unnamed, folder)}, whose names say no split")
        else:
            parts = {"train": Part(_one(unnamed, folder, choices)), **parts}
    if "train" not in parts:
        raise DataError(
            f"there is data for {listed(list(parts))}, but none to train on",
            where=folder.path,
            hint="call the file train.*, or give it: mmkit init FILE",
            code="init.no-data",
        )
    parts = {split: parts[split] for split in WORDS if split in parts}
    shared: tuple[str, ...] = ()
    if "dev" not in parts:
        shared = ("train", "dev") if "test" in parts else ("train", "dev", "test")
        parts = {split: parts["train"] if split in shared else parts[split] for split in WORDS}
    return Layout(parts, shared, _knowledge_base(sources, parts["train"].source, folder, choices))


def _one_format(sources: list[Source], folder: Folder, choices: Choices) -> list[Source]:
    """The sources of one reader. Files of several formats are a question."""
    groups: dict[str, list[Source]] = {}
    for source in sources:
        groups.setdefault(source.reader, []).append(source)
    options = [f"{some[0].what} ({name}): {_names(some, folder)}" for name, some in groups.items()]
    at = 0
    if len(groups) > 1:
        at = choices.only(
            f"there is data in {len(groups)} formats; which one is meant?",
            options,
            where=folder.path,
            hint="name the file or its folder (mmkit init FOLDER/FILE), or the reader: --reader NAME",
        )
    chosen = list(groups.values())[at]
    choices.say(f"read as {chosen[0].what} ({chosen[0].reader}): {_names(chosen, folder)}")
    return chosen


def _named(sources: list[Source], folder: Folder, choices: Choices) -> tuple[dict[str, Part], list[Source]]:
    """The splits that names say, and sources whose names say none."""
    parts: dict[str, list[Part]] = {}
    unnamed = []
    for source in sources:
        inner = {split_of(Path(name), Path()): settings for name, settings in source.splits.items()}
        if source.splits and "" not in inner and len(inner) == len(source.splits):
            for split, settings in inner.items():
                parts.setdefault(split, []).append(Part(source, settings))
        elif len(source.splits) == 1:
            unnamed.append(source)
        elif not folder.single and (split := split_of(source.path, folder.path)):
            parts.setdefault(split, []).append(Part(source))
        else:
            unnamed.append(source)
    chosen = {}
    for split, some in parts.items():
        at = 0
        if len(some) > 1:
            at = choices.only(
                f"{len(some)} files may be data.{split}; which one is meant?",
                [_name(part.source, folder) for part in some],
                where=folder.path,
                hint="move the others away, or name the folder with the right ones",
            )
        chosen[split] = some[at]
    return chosen, unnamed


def _one(sources: list[Source], folder: Folder, choices: Choices) -> Source:
    at = 0
    if len(sources) > 1:
        at = choices.only(
            f"{len(sources)} files hold data, and no name says train; which one is meant?",
            [_name(source, folder) for source in sources],
            where=folder.path,
            hint="name it: mmkit init FOLDER/FILE; or call the files train.*, dev.* and test.*",
        )
    return sources[at]


def _knowledge_base(
    sources: Sequence[Source], train: Source, folder: Folder, choices: Choices
) -> Source | None:
    """The source of entities: a file of its own before the entities that the posts name."""
    found = [source for source in sources if source.entities]
    posts = {source.path for source in sources if not source.entities}
    own = [s for s in found if s.path not in posts] or [s for s in found if s.path == train.path]
    if len(own) < 2:
        return own[0] if own else None
    at = choices.only(
        f"{len(own)} files may be the knowledge base; which one is meant?",
        [_name(source, folder) for source in own],
        where=folder.path,
        hint="name it: --entities FILE",
    )
    return own[at]


def _name(source: Source, folder: Folder) -> str:
    path = source.path
    return path.relative_to(folder.path).as_posix() if path != folder.path else str(path)


def _names(sources: Sequence[Source], folder: Folder) -> str:
    return few([_name(source, folder) for source in sources])
