"""Size and checksum of a run's files when it was completed: in `run.json` under `files`, compared at loading.

Runs of earlier versions, and runs that are not finished, have none and are not compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmkit.errors import RunError

FILES = "files"
"""The key in `run.json`."""
RECIPE = "recipe.cfg"
TOP = (RECIPE, "labels.json", "model.safetensors")
"""Files that predictions depend on, besides everything in `BELOW`."""
KNOWLEDGE = "knowledge"
"""The folder of a run's own knowledge base, `entities.jsonl`; only a run that is handed on has one."""
BELOW = ("encoders", "entities", KNOWLEDGE)
"""Folders of encoders' configurations, tokenizers and preprocessing, and of a knowledge base."""


def run_files(folder: Path) -> list[str]:
    """The files in a run folder that its predictions depend on, relative to it.

    Raises `RunError` for one that is not a regular file: reading a device or a pipe may never end.
    """
    found = [folder / name for name in TOP]
    for below in BELOW:
        found += [path for path in sorted((folder / below).rglob("*")) if not path.is_dir()]
    there = [path for path in found if path.exists() or path.is_symlink()]
    for path in there:
        if not path.is_file():
            raise RunError(
                f"{path.relative_to(folder)} is no regular file",
                where=folder,
                hint="copy the run folder again",
                code="run.damaged",
            )
    return [path.relative_to(folder).as_posix() for path in there]


def described(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each of `run_files`."""
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
        for name in run_files(folder)
    }


def check_files(folder: Path, facts: Mapping[str, Any], names: Iterable[str]) -> None:
    """Compare files with what `run.json` says of them. Raises `RunError` for one that is missing or has changed."""
    known = facts.get(FILES, {})
    if not (isinstance(known, dict) and all(_is_entry(entry) for entry in known.values())):
        raise RunError(
            f'run.json is damaged: "{FILES}" says nothing of sizes and checksums',
            where=folder,
            hint="copy the file again",
            code="run.damaged",
        )
    names = set(names)
    for name, entry in known.items():
        if name in names:
            _check(folder, name, entry)


def missing_files(facts: Mapping[str, Any], there: Iterable[str]) -> list[str]:
    """The files that `run.json` names and that are not there."""
    return sorted(set(facts.get(FILES, {})) - set(there))


def _check(folder: Path, name: str, entry: Mapping[str, Any]) -> None:
    path = folder / name
    size = path.stat().st_size
    if size != entry["bytes"]:
        what = f"it has {size:,} bytes, and had {entry['bytes']:,} when the run was completed"
    elif _sha256(path) != entry["sha256"]:
        what = "its contents are not what they were when the run was completed"
    else:
        return
    on_purpose = f'if you changed it on purpose, take {name} out of "{FILES}" in run.json'
    if name == RECIPE:
        raise RunError(
            f"{name} was changed: {what}",
            where=folder,
            hint=f"{on_purpose} (`mmkit evaluate` also takes settings: --data.test.root DIR); else copy the file again",
            code="run.changed-recipe",
        )
    raise RunError(
        f"{name} is damaged: {what}",
        where=folder,
        hint=f"copy the file again; {on_purpose}",
        code="run.changed-file",
    )


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict) and type(entry.get("bytes")) is int and isinstance(entry.get("sha256"), str)
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
