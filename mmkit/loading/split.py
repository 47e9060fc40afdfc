"""One split of a recipe's data in memory, and where it was read from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkit.annotators.base import Annotator
from mmkit.annotators.makers import Maker, joined
from mmkit.annotators.makers import told as by_models
from mmkit.data.candidates import candidate_recall, recall_in_words
from mmkit.data.fingerprints import file_sha256, known_variant
from mmkit.data.problems import Place
from mmkit.data.reader import Reader
from mmkit.data.types import Entity, Example
from mmkit.errors import DataError
from mmkit.files import tidy
from mmkit.terminal.notes import capped

ENTITIES = "entities"

MANY = 50
"""The number of files of one folder from which on they are told together, as the folder."""

Progress = Callable[[str, int, int], None]
"""Called with a label, how much is done, and how much there is."""


@dataclass
class Split:
    """One split's records, and the facts about their origin for `run.json`.

    The split of entities is a knowledge base: its records stay on disk (`mmkit.data.knowledge`).
    """

    name: str
    examples: list[Example] = field(default_factory=list)
    entities: Sequence[Entity] = ()
    repairs: dict[str, int] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Record id → why an annotator could not annotate it, if that is not an error."""
    made_by: dict[str, list[Maker]] = field(default_factory=dict)
    """Annotator → the models that made its results."""
    places: dict[str, Place] = field(default_factory=dict)
    """Record id → where it stands, as far as the reader says it."""
    share_of: int = 0
    """The number of records in the file, if the split is its share of them (`[data.shares]`); else 0. `repairs` then
    count what was skipped or corrected in the whole file: a record that is skipped belongs to no share."""

    def __len__(self) -> int:
        """The number of records."""
        return len(self.examples) or len(self.entities)

    @property
    def origin(self) -> dict[str, Any]:
        """Counts, file fingerprints, repairs, and which models made what annotators added, if any did, as JSON.

        `share_of` says of how many records the repairs are, if the split is a share of a file.
        """
        share = {"share_of": self.share_of} if self.share_of else {}
        made_by = {name: [maker.to_json() for maker in makers] for name, makers in self.made_by.items()}
        known = {"made_by": made_by} if made_by else {}
        return {"records": len(self), **share, "files": self.files, "repairs": dict(self.repairs), **known}

    def annotated(self, name: str, annotator: Annotator) -> None:
        """Count which models made the results that an annotator has just given."""
        if annotator.makers:
            self.made_by[name] = joined([*self.made_by.get(name, ()), *annotator.makers])

    @property
    def repaired(self) -> list[str]:
        """What was skipped or corrected, and how often; of a split that is a share of a file, in the whole file."""
        whole = f" in the whole file, {tidy(self.files[0]['file'])}" if self.share_of else ""
        return [f"{count} × {reason}{whole}" for reason, count in self.repairs.items()]

    def notes(self) -> list[str]:
        """Notes for the user: what was read and from where, what was skipped or corrected, models, candidate recall."""
        main = self.files[0]
        variant = f"{main['variant'] or 'unknown variant'}, sha256 {main['sha256'][:12]}"
        whole = f" of {self.share_of}" if self.share_of else ""
        read = f"data.{self.name}: {len(self)}{whole} records from {main['file']} ({variant})"
        named = "data.shares" if self.share_of else f"data.{self.name}"
        counted = [f"{named}: {line}" for line in self.repaired]
        failed = capped(
            f"data.{self.name}: {id} is not annotated: {why}" for id, why in self.failures.items()
        )
        listed = any(x.candidates for x in self.examples)
        recall = candidate_recall(self.examples) if listed else {}
        told = [f"data.{self.name}: {recall_in_words(recall)}"] if recall else []
        made = [
            line for name, m in self.made_by.items() for line in by_models(f"data.{self.name}: {name}", m)
        ]
        return [read, *counted, *failed, *made, *told]


def notes_of(splits: Iterable[Split]) -> list[str]:
    """The notes of several splits. What is said of a whole file of which they are shares is said once."""
    return list(dict.fromkeys(note for split in splits for note in split.notes()))


def fingerprints(reader: Reader) -> list[dict[str, Any]]:
    """A reader's files with their hashes and, if known, the variant of the dataset; many of a folder are one entry.

    If a file is missing, raises a `DataError` that says where the dataset comes from.
    """
    try:
        hashes = {path: file_sha256(path) for path in reader.files()}
    except DataError as error:
        raise error.at(error.where, error.hint or reader.source) from error
    return [
        {"file": str(path), "sha256": sha, "variant": known_variant(sha) or reader.variants.get(sha[:12])}
        for path, sha in by_folder(hashes).items()
    ]


def by_folder(hashes: Mapping[Path, str]) -> dict[Path, str]:
    """Path → SHA-256, with one entry for all the files of a folder if they are `MANY`; the first file stays itself.

    That of a folder is the SHA-256 of the lines `<SHA-256>  <name>` of its files, in the order of their names.
    """
    first, *others = hashes
    files: dict[Path, list[Path]] = {}
    for path in others:
        files.setdefault(path.parent, []).append(path)
    told = {first: hashes[first]}
    for folder, own in files.items():
        if len(own) < MANY:
            told |= {path: hashes[path] for path in own}
            continue
        lines = "".join(f"{hashes[path]}  {path.name}\n" for path in sorted(own))
        told[folder] = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    return told
