"""From a recipe's `[data.entities]` to a knowledge base on disk, annotated."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from mmkit.cache import cache_dir
from mmkit.data.expected import records
from mmkit.data.kb_jsonl import KbJsonlReader
from mmkit.data.knowledge import DuplicateIdsError, KnowledgeBase
from mmkit.data.reader import Reader
from mmkit.data.types import Entity
from mmkit.errors import DataError
from mmkit.files import explained, is_undamaged
from mmkit.files.temporary import temporary_folder
from mmkit.loading.annotation import Annotation
from mmkit.loading.split import ENTITIES, Split, fingerprints
from mmkit.recipe import Recipe
from mmkit.terminal.notes import few


def read_knowledge_base(
    recipe: Recipe,
    annotation: Annotation | None = None,
    *,
    other: Path | None = None,
    errors: list[DataError] | None = None,
) -> Split:
    """The recipe's knowledge base: read once, and kept in the cache as long as its files are the same.

    It is read as a stream, so memory does not grow with it. If `annotation` has annotators of entities, it is read
    again each time, but their results are stored. `other`, a file of entities for `mmkit.kb_jsonl.v1`, is used
    instead of the recipe's. Errors of single records are put into `errors`, if that is given; the first of them is
    raised after the last record, so that nothing is kept of a file that can be read in part. Raises `DataError` for a
    damaged file, two entities with the same id, or entities that an
    annotator could not annotate.
    """
    config: Any = recipe.config["data"].get(ENTITIES)
    reader: Reader
    if other is None:
        reader = recipe.build(f"data.{ENTITIES}")
    else:
        reader = KbJsonlReader(str(other.parent), other.name)
        config = {"@readers": "mmkit.kb_jsonl.v1", "root": reader.root, "file": reader.file}
    reader.errors = errors
    split = Split(ENTITIES, files=fingerprints(reader))
    folder = cache_dir("knowledge")
    try:
        if annotation is not None and annotation.over("entities"):
            entities = annotation.annotated_entities(_read(reader), split)
            split.entities = base = _newly_built(folder, entities, reader)
        else:
            key = _key(config, split)
            split.entities = base = KnowledgeBase.build(folder / key, _read(reader), reader.repairs)
    except DuplicateIdsError as error:
        raise DuplicateIdsError.of(error.count, _places(reader, error.ids), reader.path) from error
    except DataError as error:
        advice = (
            "entities are read as jsonlines here; `mmkit convert` converts other formats" if other else ""
        )
        raise error.at(error.where or reader.path, error.hint or advice) from error
    split.repairs = base.repairs
    return split


def read_entities(recipe: Recipe, other: Path | None = None) -> Sequence[Entity]:
    """The knowledge base of a run's recipe (or the `other` file's), annotated; nothing if it has no `[data.entities]`.

    Annotators write only their store, because the run may be from elsewhere. So its knowledge base may not be where
    its recipe says: the error then says how to name another.
    """
    if other is None and ENTITIES not in recipe.parts("data"):
        return ()
    try:
        return read_knowledge_base(recipe, Annotation.of(recipe, writing=False), other=other).entities
    except DataError as error:
        if other is not None or error.code != "file.missing":
            raise
        hint = 'name a knowledge base: entities="kb.jsonl" in Python, or --entities kb.jsonl'
        raise error.at(error.where, hint) from error


def _read(reader: Reader) -> Iterator[Entity]:
    for record in records(reader):
        if not isinstance(record, Entity):
            raise DataError(
                f"data.{ENTITIES} needs entities, but its reader gives examples", code="data.wrong-reader"
            )
        yield record
    if reader.errors:
        raise reader.errors[0]


def _places(reader: Reader, ids: frozenset[str]) -> dict[str, list[str]]:
    """Where the records with these ids are in the file, which is read again: the first few places of each id."""
    reader.errors = []
    places: dict[str, list[str]] = {}
    for record in reader:
        if record.id in ids and reader.place is not None:
            places.setdefault(record.id, []).append(reader.place.of())
    return {id: [few(at)] for id, at in places.items()}


def _key(config: Any, split: Split) -> str:
    """A key of everything that decides the knowledge base: the part, its settings, and the content of its files."""
    contents = [file["sha256"] for file in split.files]
    root = str(Path(config.get("root", "")).absolute())
    described = json.dumps([config, root, contents], sort_keys=True)
    return hashlib.blake2b(described.encode(), digest_size=16).hexdigest()


def _newly_built(folder: Path, entities: Iterable[Entity], reader: Reader) -> KnowledgeBase:
    """A knowledge base that is named by its content, because the content is not known before."""
    with explained(folder, DataError), temporary_folder(folder, "new") as temporary:
        base = KnowledgeBase.build(temporary / "base", entities, reader.repairs)
        final = folder / base.fingerprint
        with FileLock(f"{final}.lock"):
            if not is_undamaged(final):
                shutil.rmtree(final, ignore_errors=True)
                base.folder.rename(final)
        return KnowledgeBase(final)
