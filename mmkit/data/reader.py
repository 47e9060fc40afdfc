"""Station 1, the reader: a dataset file becomes `Example`s (or, for a knowledge base, `Entity`s)."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mmkit.data.file_kinds import looks_like
from mmkit.data.problems import Place
from mmkit.data.types import Entity, Example
from mmkit.errors import DataError

GIVEN_UP = 20
"""Refused records, and no other, after which a file is not read on."""

_OF_PICTURES = ("crop_images", "local_files", "pictures")
"""Settings of readers that name a folder of images, beside `pictures_in`."""


@dataclass(frozen=True)
class Guess:
    """What a reader says about a file that it reads: what the file is, and with which settings it reads it.

    `sure` is false where other formats look the same: a reader that is sure goes first. `splits` is for a file or
    folder that holds several splits: a split's name → the further settings that read it.
    """

    what: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    sure: bool = True
    splits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Reader(ABC):
    """Reads one file under `root`, lazily, and from the start on every iteration.

    The constructor reads no file. Every error is a `DataError` that names file and line. What an iteration skipped or
    corrected is counted in `repairs` (reason → count) and shown to the user, never hidden. `place` says where the
    record stands that an iteration gave last, so that what is found wrong with it later can be said with file and
    line; a reader sets it before it gives the record. `source` says where the dataset comes from; it is part of the
    message for a missing file.
    """

    source: ClassVar[str] = ""
    form: ClassVar[str] = ""
    """What a file is that it reads, for the message where a file is something else: "a JSON list of captions"."""
    errors: list[DataError] | None = None
    """Where errors of single records are kept, in place of being raised; see `refuse`."""
    kinds: ClassVar[frozenset[str]] = frozenset()
    """The kinds of files that it reads, as `mmkit.data.file_kinds` calls them."""
    pictures_in: ClassVar[str] = ""
    """The setting that names the folder of pictures (a text) or the folders (a list); empty if records say it."""
    variants: ClassVar[Mapping[str, str]] = {}
    """Published files that the core does not know: first 12 hex digits of a file's SHA-256 → the variant it is."""
    symptoms: ClassVar[frozenset[str]] = frozenset()
    """Codes of its own errors that a file of another kind causes."""

    def __init__(self, root: str, file: str, blank_images: bool = False) -> None:
        self.root, self.file, self.blank_images = root, file, blank_images
        self.repairs: Counter[str] = Counter()
        self.place: Place | None = None

    @property
    def path(self) -> Path:
        return Path(self.root) / self.file

    def refuse(self, error: DataError) -> None:
        """Raise the error of one record; or keep it in `errors`, if that is a list, so that all are said at once.

        A reader that goes on behind it is of more use to `mmkit check`, which sets `errors`. A file whose first
        records are all refused is given up: it is probably of another kind.
        """
        if self.errors is None:
            raise error
        if self.place is None and len(self.errors) >= GIVEN_UP:
            raise self.errors[0]
        self.errors.append(error)

    @abstractmethod
    def __iter__(self) -> Iterator[Example] | Iterator[Entity]: ...

    def files(self) -> list[Path]:
        """The files whose bytes decide what is read; they are fingerprinted (images are not among them)."""
        return [self.path]

    def picture_folders(self) -> list[str]:
        """The folders in which the images are, as far as the settings say it: `root`, and others that they name.

        Where records give whole paths, they may name images elsewhere.
        """
        told = [getattr(self, setting, None) for setting in (self.pictures_in, *_OF_PICTURES) if setting]
        names = [name for value in told for name in ([value] if isinstance(value, str) else value or ())]
        return [self.root, *(os.path.join(self.root, name) for name in names)]  # noqa: PTH118

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """Whether this reader reads `path`, which `mmkit init` found, and how; None if it does not.

        `head` holds the first bytes of a file (up to 65,536); it is empty for a folder. The answer is only a guess:
        `mmkit init` then reads the first records. By default, a file is recognized if it is one of `kinds`. Raises
        nothing: a file that cannot be read is not recognized.
        """
        looks = looks_like(path) if head and cls.kinds else None
        return Guess(looks.what) if looks is not None and looks.kind in cls.kinds else None

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        """Write a small dataset in this reader's own on-disk format; return each split's constructor overrides.

        Keys are `train`, `dev`, `test` (and `entities`). The images must matter: see docs/data.md.
        """
        raise NotImplementedError(f"{cls.__name__} brings no sample data")
