"""What a finished image index says of itself, and whether its files are what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmkit.errors import DataError
from mmkit.files import read_json
from mmkit_retrieval.checksums import checksum, odd_file
from mmkit_retrieval.pictures.vectors import check_format, damaged, is_index

FACTS = "facts.json"
AGAIN = "run `mmkit retrieval build-index` again: it continues where it stopped"


def read_facts(folder: Path) -> dict[str, Any]:
    """What a finished index says of itself; its files are not looked at.

    Raises `DataError` where there is no index, or an unfinished, damaged or newer one.
    """
    path = folder / FACTS
    if odd := odd_file(folder):
        raise damaged(odd, "it is not a regular file")
    try:
        facts = read_json(path)
    except FileNotFoundError:
        if is_index(folder):
            raise DataError(
                "the image index is unfinished", where=folder, hint=AGAIN, code="retrieval.index-unfinished"
            ) from None
        hint = "make one with `mmkit retrieval build-index`, without --no-images, or name where it is now"
        raise DataError(
            "there is no image index here", where=folder, hint=hint, code="retrieval.no-index"
        ) from None
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise damaged(path, "the file does not say its format")
    check_format(facts["format"], path)
    wanted = {"pictures", "unreadable", "model", "kind", "settings", "generation", "identity", "checks"}
    if missing := sorted(wanted - facts.keys()):
        raise damaged(path, f"the file lacks {missing[0]!r}")
    checks = facts["checks"]
    if not (isinstance(checks, dict) and all(Path(name).name == name for name in checks)):
        raise damaged(path, "the file has no checksums of files beside it")
    if not isinstance(facts["pictures"], int) or not isinstance(facts["identity"], str):
        raise damaged(path, "the file does not say what the index holds")
    return facts


def check_files(folder: Path, facts: dict[str, Any]) -> None:
    """Raise `DataError` unless all files but the vectors are those that were written."""
    for name, check in facts["checks"].items():
        path = folder / name
        if not path.is_file():
            raise damaged(path, "the file is missing")
        if checksum(path) != check:
            raise damaged(path, "the file is not what was written")
