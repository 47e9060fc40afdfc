"""Paths of a machine and credentials, taken out of a recipe, of facts about a run, and of encoders' configurations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mmkit import Recipe
from mmkit.access.secrets import without_secrets
from mmkit.errors import RunError

VOCABULARIES = {"tokenizer.json", "vocab.json", "labels.json"}
"""JSON files of words: what looks like a path there is a word."""


def without_path(text: str) -> str:
    """A path of one machine, shortened to the name of its file or folder; other texts unchanged."""
    posix = text.startswith(("~/", "file:/")) or (
        text.startswith("/") and (text.count("/") > 1 or _exists(text))
    )
    if posix and "\n" not in text:
        return PurePosixPath(text).name or text
    windows = PureWindowsPath(text)
    if (windows.drive and windows.root) and "\n" not in text:
        return windows.name
    return text


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        return False


def cleaned(value: Any) -> Any:
    """JSON without paths of this machine, and without credentials."""
    match value:
        case str():
            return without_secrets(without_path(value))
        case list():
            return [cleaned(each) for each in value]
        case dict():
            return {name: cleaned(each) for name, each in value.items()}
    return value


def path_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe with paths of this machine or credentials, by dotted name, with what they become."""
    return {dotted: new for dotted, old in _settings(recipe.config) if (new := cleaned(old)) != old}


def _settings(config: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        dotted = f"{at}.{name}" if at else str(name)
        if isinstance(value, dict):
            yield from _settings(value, dotted)
        else:
            yield dotted, value


def cleaned_json(file: Path) -> str | None:
    """The text of a JSON file without paths of this machine; None if it has none."""
    if file.suffix != ".json" or file.name in VOCABULARIES:
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    new = cleaned(content)
    return None if new == content else json.dumps(new, indent=2, ensure_ascii=False) + "\n"


def check_no_paths(folder: Path, run: Path) -> None:
    """Raise `RunError` if a text of a package still names the user's home, the working folder or the run's place."""
    places = {f"{path}/" for path in (Path.home(), Path.cwd(), run.resolve().parent) if len(path.parts) > 1}
    for file in sorted(folder.rglob("*")):
        if file.suffix not in (".cfg", ".json", ".md") or file.name in VOCABULARIES:
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if found := next((place for place in sorted(places) if place in text), None):
            raise RunError(
                f"{file.relative_to(folder)} would name a path of this machine: {found}",
                where=run,
                hint="take it out of the run's recipe or settings",
                code="hub.machine-path",
            )
