"""Candidate lists: how often they contain the gold entity, and the file that stores them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmkit.data.json_text import unique_fields
from mmkit.data.types import Example
from mmkit.errors import DataError
from mmkit.files import atomic

KS = (1, 10, 50, 100)
"""The lengths of lists for which recall is computed."""


def candidate_recall(examples: Iterable[Example], ks: Sequence[int] = KS) -> dict[int, float]:
    """For each k, the share of examples whose entity is among their first k candidates.

    Only examples with an entity count; an example without candidates is a miss. Empty if no example has an entity.
    """
    places = [
        x.candidates.index(x.entity) if x.entity in x.candidates else None
        for x in examples
        if x.entity is not None
    ]
    if not places:
        return {}
    return {k: sum(place is not None and place < k for place in places) / len(places) for k in ks}


def recall_in_words(recall: Mapping[int, float]) -> str:
    """Recall as one line of text for the user."""
    return "candidate recall " + ", ".join(f"@{k} {share:.1%}" for k, share in recall.items())


def merge_candidates(path: Path, lists: Mapping[str, Sequence[str]]) -> None:
    """Add `lists` (mention → entity ids, best first) to the JSON file at `path`, in place of older lists.

    The format is that of the published `search_top100.json`, which the readers take. The file is replaced completely
    or not at all. Raises `DataError` if the file contains something else, or if the disk refuses.
    """
    kept = _read(path) if path.exists() else {}
    with atomic(path, error=DataError) as file:
        # Escaped, because mentions may contain unpaired surrogates, which UTF-8 cannot encode.
        json.dump(kept | {mention: list(ids) for mention, ids in lists.items()}, file)
        file.write("\n")


def _read(path: Path) -> dict[str, list[str]]:
    try:
        lists = json.loads(path.read_bytes(), object_pairs_hook=unique_fields)
    except (OSError, ValueError, RecursionError) as error:
        raise _not_lists(path, str(error)) from error
    if not isinstance(lists, dict) or not all(isinstance(ids, list) for ids in lists.values()):
        raise _not_lists(path, "it is not a JSON object of lists")
    return lists


def _not_lists(path: Path, reason: str) -> DataError:
    return DataError(
        f"candidate lists cannot be added to this file: {reason}",
        where=path,
        hint="name another file, or delete this one",
        code="data.candidate-lists",
    )
