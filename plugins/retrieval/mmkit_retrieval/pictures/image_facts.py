"""The facts of a finished image index (`facts.json`), and the check of its files against them."""

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
    """The facts of a finished index. Other files are not read.

    Raises `DataError` if there is no index, or if it is unfinished, damaged or of another version.
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
        hint = "build one with `mmkit retrieval build-index`, without --no-images, or correct the path"
        raise DataError(
            "there is no image index here", where=folder, hint=hint, code="retrieval.no-index"
        ) from None
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise damaged(path, "the file has no format number")
    check_format(facts["format"], path)
    wanted = {"pictures", "unreadable", "model", "kind", "settings", "generation", "identity", "checks"}
    if missing := sorted(wanted - facts.keys()):
        raise damaged(path, f"the file has no {missing[0]!r}")
    checks = facts["checks"]
    if not (isinstance(checks, dict) and all(Path(name).name == name for name in checks)):
        raise damaged(path, "the file has no checksums of files beside it")
    if not isinstance(facts["pictures"], int) or not isinstance(facts["identity"], str):
        raise damaged(path, "the file does not say what the index contains")
    return facts


def check_files(folder: Path, facts: dict[str, Any]) -> None:
    """Raise `DataError` if a file is missing or its checksum is wrong. The vectors are checked elsewhere."""
    for name, check in facts["checks"].items():
        path = folder / name
        if not path.is_file():
            raise damaged(path, "the file is missing")
        if checksum(path) != check:
            raise damaged(path, "the file's checksum is wrong")
