"""Hints about packages that bring parts and settings: `known_packages.json`, which only messages use.

A package can be used without being listed there. If it is listed, messages name it to a user who has not installed it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files

DISTRIBUTION = "mmkit-core"
"""The distribution of the package `mmkit`. The name mmkit belongs to somebody else on the package index."""


def distribution_of(requirement: str) -> str:
    """The distribution that a recipe means: it may call the core `mmkit`."""
    return DISTRIBUTION if requirement == "mmkit" else requirement


@dataclass(frozen=True)
class KnownPackage:
    """A package: the beginnings of its parts' names, how to install it, and the settings that it brings.

    `settings` are dotted names of settings that the core does not take, or not with every value. `words` are
    short names of formats that it reads and writes, `schemes` those of runs' addresses that it opens, `trackers` the
    names of its trackers, `engines` those of its search engines.
    """

    package: str
    parts: tuple[str, ...]
    install: str
    settings: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()


@cache
def known_packages() -> tuple[KnownPackage, ...]:
    """The packages of `known_packages.json`."""
    text = (files("mmkit.config") / "known_packages.json").read_text(encoding="utf-8")
    return tuple(
        KnownPackage(
            entry["package"],
            tuple(entry["parts"]),
            entry["install"],
            tuple(entry["settings"]),
            tuple(entry.get("words", ())),
            tuple(entry.get("schemes", ())),
            tuple(entry.get("trackers", ())),
            tuple(entry.get("engines", ())),
        )
        for entry in json.loads(text)
    )


def is_installed(package: str) -> bool:
    """Whether a distribution of this name is installed."""
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def install_hint(package: str, requirement: str = "") -> str:
    """How to get a package (in a version, `package>=1`)."""
    for known in known_packages():
        if known.package == package:
            return known.install
    return f'pip install "{requirement or package}"'


def part_hint(name: str) -> str:
    """How to get the package that brings a part of this name; empty if none is known or it is installed."""
    word = name.partition(".")[0]
    return _first(known for known in known_packages() if word in known.parts)


def word_hint(name: str) -> str:
    """How to get the package that reads and writes a format of this short name; empty as for `part_hint`."""
    word = name.replace("_", "-")
    return _first(known for known in known_packages() if word in known.words)


def tracker_hint(name: str) -> str:
    """How to get the package that brings a tracker of this name; empty as for `part_hint`."""
    return _first(known for known in known_packages() if name in known.trackers)


def listed_trackers() -> list[str]:
    """The trackers of all known packages, installed or not."""
    return [name for known in known_packages() for name in known.trackers]


def engine_hint(name: str) -> str:
    """How to get the package that brings a search engine of this name; empty as for `part_hint`."""
    return _first(known for known in known_packages() if name in known.engines)


def listed_engines() -> list[str]:
    """The search engines of all known packages, installed or not."""
    return [name for known in known_packages() for name in known.engines]


def setting_hint(dotted: str) -> str:
    """How to get the package that brings a setting; empty if none is known or it is installed."""
    return _first(known for known in known_packages() if dotted in known.settings)


def scheme_hint(scheme: str) -> str:
    """How to get the package that opens runs' addresses of this scheme; empty as for `part_hint`."""
    return _first(known for known in known_packages() if scheme in known.schemes)


def _first(found: Iterable[KnownPackage]) -> str:
    return next((known.install for known in found if not is_installed(known.package)), "")
