"""Sound files, which of them are damaged, and what reads them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzzing.mutations import damaged
from mmkit.errors import MMKitError

MOST_RECORDS = 20_000
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ico", ".ppm"})


@dataclass(frozen=True)
class Target:
    """Sound files in a folder, which ones are damaged, and what reads them.

    `read` returns or raises `MMKitError` with a code; everything else is a failure.
    """

    files: Sequence[Path]
    read: Callable[[], object]
    folder: Path


def run_case(target: Target, rng: Random) -> tuple[str, list[str]]:
    """How a case ended (`read`, or an error's code), and what was damaged. Raises what is a failure."""
    with damaged(target.folder, target.files, rng) as told:
        try:
            target.read()
        except MMKitError as error:
            if not error.code or not error.what:
                raise AssertionError(f"an error without a code or a message: {error!r}") from error
            str(error)
            return error.code, told
    return "read", told


def drained(records: Any) -> int:
    """Reads records to the end, or as many as are enough."""
    return sum(1 for _ in itertools.islice(iter(records), MOST_RECORDS))


def below(folder: Path, pictures: bool = False) -> list[Path]:
    """The files in a folder, without the pictures unless those are asked for."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "complete")
    return [path for path in found if (path.suffix.lower() in PICTURES) is pictures]
