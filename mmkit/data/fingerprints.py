"""Which variant of a dataset a file is: papers use different ones, and new labels can change F1 by 2 points."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mmkit.data.lines import missing
from mmkit.data.regular import open_regular
from mmkit.errors import DataError

KNOWN = {
    "a6246e37aa1c": "Twitter-2015 train, original labels",
    "9dcc7f9df733": "Twitter-2015 valid, original labels",
    "edb2665b89bf": "Twitter-2015 test, original labels",
    "66c1336f27fe": "Twitter-2015 train, relabelled (9 sentences differ, no span)",
    "51e003ec71c2": "Twitter-2015 valid, relabelled (3 sentences differ, no span)",
    "a4ef7f191a45": "Twitter-2015 test, relabelled (239 sentences with other tags)",
    "801e149e8635": "Twitter-2017 train, as published",
    "41b5db90cb32": "Twitter-2017 valid, as published",
    "a7d9e172ae85": "Twitter-2017 test, as published",
    "ecb441608c63": "Twitter-2015 train with PGIM's contexts, original labels, without the last post",
    "217c3e571b30": "Twitter-2015 valid with PGIM's contexts, original labels, without the last post",
    "6fc6eef3414d": "Twitter-2015 test with PGIM's contexts, original labels, without the last post",
    "35ed837e177d": "Twitter-2017 train with PGIM's contexts",
    "9778352b35f8": "Twitter-2017 valid with PGIM's contexts",
    "090750640b2d": "Twitter-2017 test with PGIM's contexts",
    "c7b0828be738": "Twitter-2017 valid with PGIM's contexts, as published until 2024-11-10: the test posts",
    "57646c1fd7cf": "BLIP-2's captions of Twitter-2015, as PGIM's authors published them",
    "6ac823187622": "BLIP-2's captions of Twitter-2017, as PGIM's authors published them",
    "f641aee61cf2": "CP-MNER train, as published",
    "cba8617ab6f4": "CP-MNER valid, as published",
    "020ece492a0a": "CP-MNER test, as published",
    "1cc34438a00e": "MNRE train, version 2 as published",
    "c76865179b56": "MNRE val, version 2 as published",
    "f53c2f9b7739": "MNRE test, version 2 as published",
    "b4423664d41a": "WikiMEL, as published",
    "2ce9ec061b90": "Richpedia-MEL, as published",
    "856c847687f5": "JMERE test with TESGA's predictions, as published",
}
"""First 12 hex digits of a file's SHA-256 → the variant it is."""

MISTAKEN = {
    "c7b0828be738": (
        "this published file holds the posts of the test set, so a model that is chosen by it has seen them",
        "take the valid.txt of the archive since 2024-11-10, which has the posts of Twitter-2017's valid.txt",
    ),
}
"""The same digits → what is wrong with a published file, and what to do."""


def file_sha256(path: Path | str) -> str:
    """The SHA-256 of a file's bytes in hex. Raises `DataError` if it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise missing(path) from None
    except (OSError, ValueError) as error:
        raise DataError(f"the file cannot be read: {error}", where=path, code="file.unreadable") from error


def known_variant(sha: str) -> str | None:
    """The name of the published file with this SHA-256 (at least 12 digits of it), if it is known."""
    return KNOWN.get(sha[:12].lower())


def known_mistake(sha: str) -> tuple[str, str] | None:
    """What is wrong with the published file with this SHA-256 (at least 12 digits of it), and what to do, if known."""
    return MISTAKEN.get(sha[:12].lower())


def describe_file(path: Path | str) -> str:
    """The file's variant, or "unknown variant", with the first digits of its SHA-256."""
    sha = file_sha256(path)
    return f"{known_variant(sha) or 'unknown variant'} (sha256 {sha[:12]})"
