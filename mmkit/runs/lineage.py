"""What the runs were trained on that a run is made of: it is kept in `run.json`, because folders move and vanish."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmkit.errors import MMKitError
from mmkit.runs.folder import Run

KEY = "made_of"
"""The key in `run.json`: for each run that it builds on or starts from, and for each that those are made of, a
`TrainedOn`."""


@dataclass(frozen=True)
class TrainedOn:
    """A run, and the SHA-256 fingerprints of the files of its training split."""

    run: str
    files: tuple[str, ...]


def trained_on(folder: Path | str) -> list[TrainedOn]:
    """A run, and the runs that it is made of, with what each was trained on.

    Nothing is known of a folder that holds no run, and of a run whose `run.json` does not say it: such are left out.
    """
    try:
        facts = Run(Path(folder)).facts_if_any()
    except MMKitError:  # said where the run is opened
        return []
    own = TrainedOn(str(folder), fingerprints_of(_entry(facts, "data", "train")))
    earlier = [
        TrainedOn(str(_entry(known, "run")), _texts(_list(_entry(known, "files"))))
        for known in _list(facts.get(KEY))
    ]
    return [known for known in (own, *earlier) if known.files]


def made_of(folders: Iterable[Path | str]) -> list[dict[str, Any]]:
    """The content of `KEY` for a run that is made of the runs in `folders`."""
    return [asdict(known) for known in dict.fromkeys(x for folder in folders for x in trained_on(folder))]


def fingerprints_of(split: Any) -> tuple[str, ...]:
    """The SHA-256 fingerprints of a split's files, from what `run.json` says of it: `{"files": [{"sha256": ...}]}`."""
    return _texts(_entry(file, "sha256") for file in _list(_entry(split, "files")))


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str))


def _entry(value: Any, *names: str) -> Any:
    """What stands in objects inside one another; None where there is no such object: the file may be anybody's."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
