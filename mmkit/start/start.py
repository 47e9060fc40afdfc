"""`mmkit init`: from a folder of data to a recipe, step by step."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkit.data.image_paths import why_missing
from mmkit.data.problems import counted
from mmkit.errors import DataError, RecipeError, listed
from mmkit.start.beside import settings_for
from mmkit.start.choices import Ask, Choices
from mmkit.start.contents import NONE_WORDS, Contents, Read, is_foreign, read, shares_for, task_of, with_cause
from mmkit.start.folder import MOST, Folder, look_into
from mmkit.start.given import check_taken, finding
from mmkit.start.layout import Layout, layout_of
from mmkit.start.pictures import (
    Found,
    find_pictures,
    joined,
    picture_like,
    picture_named_in,
    setting_for,
)
from mmkit.start.shipped import Shipped
from mmkit.start.sources import Source, sources_in
from mmkit.start.template import choose_paper, sections_of
from mmkit.start.text import Data, recipe_text, value
from mmkit.terminal.notes import few

SHOWN = 8
"""Labels that are named."""


@dataclass(frozen=True)
class Wishes:
    """What the user said beforehand: paper, task, reader and its settings, knowledge base and folder of pictures."""

    paper: str | None = None
    task: str | None = None
    reader: str | None = None
    entities: Path | None = None
    images: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the posts' reader."""


@dataclass(frozen=True)
class Started:
    """The recipe's text, and what was found and decided, line by line."""

    text: str
    said: tuple[str, ...]
    paper: str


def start(path: Path, wishes: Wishes | None = None, ask: Ask | None = None) -> Started:
    """The recipe for the data in a folder (or in one file). Reads all data; writes nothing.

    `ask` is called for what cannot be decided; without it there is a default, which is said, or an error. Raises
    `DataError` and `RecipeError`.
    """
    wishes, choices = wishes or Wishes(), Choices(ask)
    folder = look_into(path, wishes.images)
    layout = layout_of(sources_in(folder, choices, wishes.reader, wishes.settings), folder, choices)
    _check_settings(wishes.settings, layout, choices)
    if wishes.entities is not None:
        layout.entities = _entities(wishes.entities, choices)
    found: dict[str, Found] = {}
    for split, part in layout.parts.items():
        first = layout.shared[0] if split in layout.shared else split
        found[split] = found[first] if first in found else find_pictures(part, folder)
    contents = read(layout, {s: f.root for s, f in found.items()}, {s: f.settings for s, f in found.items()})
    try:
        task = wishes.task or task_of(contents.all, folder.path)
        _check_task(task, contents.all, folder.path)
        shares = shares_for(contents, layout.shared, task, folder.path) if layout.shared else {}
    except DataError as error:
        reader = next(iter(layout.parts.values())).source.reader
        raise with_cause(finding(error, reader), contents) from error
    _say_splits(layout, contents, shares, task, choices)
    pictures = joined([found[s] for s in found if s not in layout.shared or s == layout.shared[0]])
    sources = list({part.source.path: part.source for part in layout.parts.values()}.values())
    blank = _pictures(pictures, folder, wishes, choices, sources)
    recipe = choose_paper(task, wishes.paper, bool(pictures.complete), choices, folder.path)
    sections = sections_of(recipe.file)
    more = settings_for(layout, found, sections, folder, choices)
    labels = _labels(task, contents.all, choices)
    _advise(task, contents.all, recipe, choices)
    none = _none_label(contents.all, choices) if task == "relations" else ""
    roots = Counter(str(f.root) for f in found.values())
    data = Data(
        splits=_splits(layout, found, more, task, folder),
        paths={"data": roots.most_common(1)[0][0]},
        shares=shares,
        labels=labels,
        blank=blank,
        none_label=none,
        foreign=is_foreign(contents.all),
    )
    if data.foreign:
        choices.say(
            "most letters are not Latin, so a multilingual encoder is named where the paper names an English BERT"
        )
    title = f"{recipe.paper} on the data in {path}, for {task}. Written by `mmkit init` from the recipe {recipe.name}."
    text = recipe_text(sections, data, title, [f"- {line}" for line in choices.said])
    return Started(text, tuple(choices.said), recipe.paper)


def _check_settings(given: Mapping[str, Any], layout: Layout, choices: Choices) -> None:
    """Refuse settings that the reader of the posts does not have, and say the others."""
    for reader in dict.fromkeys(part.source.reader for part in layout.parts.values()):
        check_taken(given, reader)
    if given:
        choices.say(f"as you gave it: {', '.join(f'{name} = {value(told)}' for name, told in given.items())}")


def _entities(file: Path, choices: Choices) -> Source:
    """The knowledge base that the user names."""
    if not file.is_file():
        raise DataError("there is no such knowledge base", where=file, code="file.missing")
    found = [source for source in sources_in(look_into(file), choices) if source.entities]
    if not found:
        raise DataError(
            "this file holds no entities",
            where=file,
            hint="docs/data.md shows the formats of knowledge bases",
            code="init.no-data",
        )
    return found[0]


def _check_task(task: str, contents: Contents, where: Path) -> None:
    """Refuse a task for which nothing is annotated."""
    if not contents.annotated(task) or (task == "entities and relations" and not contents.relations):
        there = {
            "spans": contents.spans.total(),
            "relations": contents.relations.total(),
            "entities": contents.mentions,
        }
        told = [f"{n:,} {what}" for what, n in there.items() if n]
        raise DataError(
            f"no post has an annotation for {task}: there are {listed(told) or 'none at all'}",
            where=where,
            hint="choose another --task, or annotate the posts",
            code="init.no-labels",
        )


def _say_splits(
    layout: Layout, contents: Read, shares: Mapping[str, int], task: str, choices: Choices
) -> None:
    told = [f"{split} {contents.splits[split].posts:,}" for split in layout.parts]
    choices.say(f"task: {task}; posts: {', '.join(told)}")
    if shares:
        sizes = ", ".join(f"{split} {share} %" for split, share in shares.items())
        name = layout.parts[layout.shared[0]].source.path.name
        choices.say(f"{name} is split by a hash of each text, because there is no file for dev: {sizes}")
    for split, part in contents.splits.items():
        if part.unread:
            first, name = contents.first_errors[split], layout.parts[split].source.path.name
            whole = (
                sum(contents.splits[s].posts for s in layout.shared) if split in layout.shared else part.posts
            )
            choices.say(
                f"{name}: {part.unread:,} of {counted(whole + part.unread, 'record')} cannot be read; `mmkit check` "
                f"names them. The first: {first.what} ({first.where})"
            )


def _pictures(
    found: Found, folder: Folder, wishes: Wishes, choices: Choices, sources: Sequence[Source]
) -> str:
    """Say which pictures were found. Returns why missing ones are blank, if some are missing.

    Raises `DataError` if there are none for a paper that the user named.
    """
    lost = found.posts - found.complete
    if not found.posts:
        choices.say(f"no post names a picture{_unused(folder, sources, found.id)}")
        return ""
    where = few([str(f) for f in folder.picture_folders])
    looked = (
        f"; pictures are in {where}" if where else f"; there is no picture in {wishes.images or folder.path}"
    )
    if len(folder.pictures) > MOST:
        looked += (
            f" (these {MOST} folders have the most; the other {len(folder.pictures) - MOST:,} were not tried)"
        )
    if wishes.images is not None and found.there and not _is_below(found.there, wishes.images):
        choices.say(
            f"--images {wishes.images} is not used: posts find pictures without it, such as {found.there}"
        )
    if not lost:
        choices.say(f"pictures: found for all {found.posts:,} posts that name some")
        return ""
    told = f"pictures are missing for {lost:,} of {found.posts:,} posts, for example {found.missing}"
    if picture := picture_like(found.missing, folder):
        place = os.path.relpath(picture, found.root)
        told += f" ({picture} is there: write such paths relative to {found.root}, here {place!r})"
    elif why := why_missing(found.missing):
        told += f" ({why})"
    if not found.complete and wishes.paper not in (None, "text-only"):
        raise DataError(
            f"no pictures found: {told}{looked}",
            where=folder.path,
            hint="name their folder: --images FOLDER; or start without pictures: --paper text-only",
            code="init.no-pictures",
        )
    where_else = (
        "" if found.complete or wishes.images is not None else " (--images FOLDER names another folder)"
    )
    choices.say(f"{told}{looked}{where_else}")
    return f"{lost:,} of {found.posts:,} posts lack pictures; `mmkit check` counts them"


def _unused(folder: Folder, sources: Sequence[Source], id: str) -> str:
    """Where pictures are that no post names, and the name of one that a file holds where its reader does not look."""
    if not folder.pictures:
        return ""
    count, where = folder.pictures.total(), few([str(f) for f in folder.picture_folders])
    told = f", so the {counted(count, 'picture')} in {where} {'is' if count == 1 else 'are'} not used"
    for source in sources:
        if name := picture_named_in(source.path, folder):
            if option := setting_for(name, source):
                return (
                    f"{told}; but {source.path.name} has {name!r}, which {option} reads as a picture's name"
                )
            what = "on a line `IMGID:NAME` before its sentence, or in the field that the reader reads"
            return f"{told}; but {source.path.name} has {name!r}: a picture's name belongs {what} (docs/formats.md)"
    if picture := picture_like(id, folder):
        return f"{told}; but {picture} is called like the post {id!r}: write its path into the post (docs/data.md)"
    return told


def _is_below(path: str, folder: Path) -> bool:
    return Path(path).resolve().is_relative_to(folder.resolve())


def _labels(task: str, contents: Contents, choices: Choices) -> dict[str, list[str]]:
    """The labels of a task, most frequent first; they are said."""
    kinds = {
        "entities": ("spans",),
        "relations": ("relations",),
        "entities and relations": ("spans", "relations"),
    }
    labels = {}
    for kind in kinds.get(task, ()):
        counts: Counter[str] = getattr(contents, kind)
        labels[kind] = [label for label, _ in counts.most_common()]
        told = [f"{label} {count:,}" for label, count in counts.most_common(SHOWN)]
        more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
        choices.say(f"labels of {kind}: {', '.join(told)}{more}")
    return labels


def _none_label(contents: Contents, choices: Choices) -> str:
    """The label that pairs without a relation have; empty if none is found, or if it is not clear which one it is."""
    found = [label for label in contents.relations if label.lower() in NONE_WORDS]
    if len(found) == 1:
        choices.say(f"{found[0]} is taken to mean that there is no relation, and does not count as one")
        return found[0]
    if found:
        choices.say(
            f"any of {listed(found)} may mean that there is no relation; none_label, in the decoder and the metrics, "
            "says which one does"
        )
    return ""


def _advise(task: str, contents: Contents, recipe: Shipped, choices: Choices) -> None:
    if task == "entities" and contents.overlapping:
        choices.say(
            f"{counted(contents.overlapping, 'post has', 'posts have')} spans that overlap, which a tagger refuses; "
            "`mmkit check` names them"
        )
    for kind in ("runs", "indexes", "keys"):
        if names := recipe.missing.get(kind):
            choices.say(
                f"{recipe.paper} also needs {kind}: {', '.join(names)}; docs/papers tells how to get them"
            )


def _splits(
    layout: Layout,
    found: Mapping[str, Found],
    more: Mapping[str, Mapping[str, Any]],
    task: str,
    folder: Folder,
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Each split's reader and settings, in the recipe's order."""
    splits = {}
    for split, part in layout.parts.items():
        source, where = part.source, found[split]
        place = {"root": str(where.root), "file": os.path.relpath(source.path, where.root)}
        first = next(iter(source.splits.values()), {}) if not part.settings else {}
        splits[split] = (
            source.reader,
            {**place, **source.settings, **first, **part.settings, **where.settings, **more[split]},
        )
    if task != "links":
        return splits
    base = layout.entities
    if base is None:
        raise RecipeError(
            "the posts mention entities, but there is no knowledge base",
            where=folder.path,
            hint="put it into the folder (jsonlines of entities, or a JSON map of ids and texts), or name it: "
            "--entities FILE",
            code="init.no-entities",
        )
    place = {"root": str(base.path.parent), "file": base.path.name}
    splits["entities"] = (base.reader, {**place, **base.settings})
    return splits
