"""Settings of the reader that a person gives `mmkit init`, and which setting solves an error of a reader."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from mmkit import registry
from mmkit.config.parameters import parameters, takes_any
from mmkit.data.reader import Reader
from mmkit.errors import DataError, MMKitError, PartError, did_you_mean

PLACE = ("root", "file")
"""Settings that are found out."""
OPTION = "--reader-setting"
_OTHER = ("blank_images", "misaligned", "offsets", "bounds", "rename", "image_separator")
"""Settings that find no annotations."""
_SETTING = re.compile(
    r'\b(?P<name>[a-z_]+) = (?P<value>"(?:[^"\\]|\\.)*"|\{[^{}]*\}|\[[^\[\]]*\]|null|true|false|-?\d+(?:\.\d+)?)'
)


def taken(given: Mapping[str, Any], cls: type[Reader]) -> dict[str, Any]:
    """Those of the `given` settings that a reader has."""
    known = parameters(cls)
    return {name: value for name, value in given.items() if name in known or takes_any(cls)}


def check_names(given: Mapping[str, Any], readers: Mapping[str, type[Reader]]) -> None:
    """Refuse settings that none of the readers has. Raises `PartError` with names that are near."""
    some = next(iter(readers)) if len(readers) == 1 else ""
    for name in given:
        if name in PLACE:
            raise PartError(
                f"{name!r} is found out, and cannot be given",
                where="@readers",
                hint="name the folder or the file: mmkit init PATH",
                code="init.setting",
            )
        if not any(taken({name: None}, cls) for cls in readers.values()):
            known = sorted({known for cls in readers.values() for known in parameters(cls)} - {*PLACE})
            raise PartError(
                f"{some or 'no reader'} has {'no' if some else 'a'} setting {name!r}",
                where="@readers",
                hint=did_you_mean(name, known) if some else _near(name, known),
                code="init.setting",
            )


def _near(name: str, known: Iterable[str]) -> str:
    """What a name may mean among the settings of all readers, which are too many to be listed."""
    near = did_you_mean(
        name.rpartition(".")[2], known
    )  # people may write data.train.columns, as for `mmkit train`
    near = f"{near}\n  → " if near.startswith("did you mean") else ""
    return f"{near}`mmkit describe NAME --registry readers` shows the settings of a reader"


def check_taken(given: Mapping[str, Any], reader: str) -> None:
    """Refuse settings that the reader of the posts does not have. Raises `PartError`."""
    check_names(given, {reader: registry.get("readers", reader)})


def with_option(error: MMKitError, cls: type[Reader]) -> MMKitError:
    """An error of a reader; if its hint names settings of this reader, it also says how `mmkit init` takes them."""
    options = {}
    for found in _SETTING.finditer(error.hint):
        said = f"--{found['name']} " in error.hint
        if found["name"] in parameters(cls) and found["name"] not in options and not said:
            options[found["name"]] = _as_option(found["name"], found["value"])
    if not options or OPTION in error.hint:
        return error
    return error.at(
        error.where, f"{error.hint}\n  → `mmkit init` takes this setting as {' '.join(options.values())}"
    )


def finding(error: DataError, reader: str) -> DataError:
    """An error about annotations that are not there, with the settings of the reader that may say where they are."""
    cls: type[Reader] = registry.get("readers", reader)
    names = [name for name in parameters(cls) if name not in (*PLACE, *_OTHER, cls.pictures_in)]
    if error.code != "init.no-labels" or not names:
        return error
    return error.at(
        error.where,
        f"{error.hint}\n  → if they are in the file, a setting of {reader} may say where: {', '.join(names)}; "
        f"`mmkit describe {reader}` explains them, and {OPTION} NAME=VALUE gives them",
    )


def _as_option(name: str, written: str) -> str:
    value = json.loads(written) if written[0] == '"' else written
    return f"{OPTION} {shlex.quote(f'{name}={value}')}"
