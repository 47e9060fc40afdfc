"""The list of the demo's photographs: `photographs.txt`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmkit.errors import DataError

LIST = Path(__file__).with_name("photographs.txt")
SPLITS = ("train", "dev", "test")
ENDINGS = {"tuxpaint-stamps-default": ".png", "gcompris-qt-data": ".webp"}
"""Debian package → the ending of its photographs."""


@dataclass(frozen=True)
class Photograph:
    """One photograph: its split, what it shows (`type`), and where it is in a package."""

    split: str
    type: str
    package: str
    folder: str
    name: str

    @property
    def path(self) -> str:
        """Where it is, below the folder of the package's pictures."""
        return f"{self.folder}/{self.name}{ENDINGS[self.package]}"

    @property
    def file(self) -> str:
        """What it is called in the dataset; the names of folders keep two photographs of the same name apart."""
        return f"{self.package.partition('-')[0]}-{self.path.replace('/', '-')}"


def read_list(path: Path = LIST) -> list[Photograph]:
    """All photographs.

    Raises `DataError` for a line that is not `SPLIT TYPE PACKAGE FOLDER: NAMES`, and for what is listed twice.
    """
    found: dict[str, Photograph] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        for photograph in _of_line(line, f"{path}:{number}"):
            if photograph.file in found:
                raise DataError(f"{photograph.path} is listed twice", where=f"{path}:{number}")
            found[photograph.file] = photograph
    return list(found.values())


def _of_line(line: str, where: str) -> Iterator[Photograph]:
    if not line.strip() or line.startswith("#"):
        return
    head, _, names = line.partition(":")
    words = head.split()
    if len(words) != 4 or not names.split() or words[0] not in SPLITS or words[2] not in ENDINGS:
        raise DataError(
            "this is no line of the list of photographs",
            where=where,
            hint="write a split, a type, a package and a folder, then a colon and names: "
            "test BIRD gcompris-qt-data explore_farm_animals/resource/animals: owl duck",
        )
    split, type_, package, folder = words
    yield from (Photograph(split, type_, package, folder, name) for name in names.split())
