"""Files beside the data that some readers take in a setting: tables of object crops, and lists of candidates."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mmkit import registry
from mmkit.config.parameters import parameters
from mmkit.data.crops import CropTable, under
from mmkit.data.expected import records
from mmkit.data.types import Example
from mmkit.errors import MMKitError, listed
from mmkit.start.choices import Choices
from mmkit.start.folder import Folder
from mmkit.start.layout import Layout, Part, split_of
from mmkit.start.pictures import TRIED, Found
from mmkit.start.tables import WHAT
from mmkit.start.template import Section
from mmkit.terminal.notes import few


def settings_for(
    layout: Layout,
    found: Mapping[str, Found],
    sections: Sequence[Section],
    folder: Folder,
    choices: Choices,
) -> dict[str, dict[str, Any]]:
    """Each split's settings for the files beside its data (`folder.beside`) that fit it; all files are said.

    A setting is written if the data of the recipe that the new one starts from, its `sections`, have it too.
    """
    settings: dict[str, dict[str, Any]] = {}
    used: set[Path] = set()
    for split, part in layout.parts.items():
        own: dict[str, Any] = {}
        for setting in WHAT:
            if setting not in parameters(part.source.cls) or not _wanted(setting, sections):
                continue
            files = [path for path, takes in folder.beside.items() if takes == setting]
            fitting = [path for path in files if split_of(path, folder.path) in (split, "")]
            best, chosen = 0, Path()
            for path in fitting:
                for more in _ways(path, setting, found[split].root, folder):
                    if (fit := _fit(part, found[split], more, setting)) > best:
                        best, chosen, own = fit, path, {**own, **more}
            if best:
                used.add(chosen)
                choices.say(f"data.{split}: {chosen.relative_to(folder.path)} ({WHAT[setting]}) is used")
        settings[split] = own
    for setting, what in WHAT.items():
        rest = [path for path, takes in folder.beside.items() if takes == setting and path not in used]
        if rest:
            names = few([str(path.relative_to(folder.path)) for path in rest])
            choices.say(f"known, but not used: {names} ({what}): {_why(setting, layout, sections)}")
    return settings


def _wanted(setting: str, sections: Sequence[Section]) -> bool:
    pattern = re.compile(rf"^{setting} = ", re.MULTILINE)
    return any(s.name.startswith("data.") and pattern.search(s.text) for s in sections)


def _why(setting: str, layout: Layout, sections: Sequence[Section]) -> str:
    """Why files of a kind are not used, and what takes them."""
    taking = [name for name in registry.readers.names() if _takes(name, setting)]
    own = next(iter(layout.parts.values())).source.reader
    if own not in taking:
        return f"{own} has no setting {setting!r}; {listed(taking)} have it"
    more = " and `crop_images` their folder" if setting == "crops" else ""
    if not _wanted(setting, sections):
        return f"this model does not read them; the setting `{setting}` of {own} takes such a file{more}"
    missing = ", or the crops themselves are not here" if setting == "crops" else ""
    return f"they do not fit these posts{missing}; the setting `{setting}` of {own} takes such a file{more}"


def _takes(reader: str, setting: str) -> bool:
    try:
        return setting in parameters(registry.get("readers", reader))
    except MMKitError:  # its package is broken, or lacks an extra
        return False


def _ways(path: Path, setting: str, root: Path, folder: Folder) -> Iterator[dict[str, Any]]:
    """The settings to try for a file; crops are looked for in all folders of pictures."""
    place = os.path.relpath(path, root)
    if setting != "crops":
        yield {setting: place}
        return
    names = [name for crops in CropTable.load(path).entries.values() for name in crops][:TRIED]
    around = [*folder.picture_folders, *(pictures.parent for pictures in folder.picture_folders)]
    hits = {
        where: sum(Path(under(str(where), n)).is_file() for n in names) for where in dict.fromkeys(around)
    }
    if best := max(hits.values(), default=0):
        same = [where for where, number in hits.items() if number == best]
        split = split_of(path, folder.path)
        same.sort(
            key=lambda where: split_of(where / "x", folder.path) != split
        )  # splits may share crops' names
        yield {setting: place, "crop_images": os.path.relpath(same[0], root)}


def _fit(part: Part, found: Found, more: Mapping[str, Any], setting: str) -> int:
    """How many of the first posts get something from a file: crops whose files are there, or candidates."""
    try:
        reader = part.source.build(found.root, **{**part.settings, **found.settings, **more})
        reader.errors = []
        some = [x for x in islice(records(reader), TRIED) if isinstance(x, Example)]
    except MMKitError:
        return 0
    if setting == "candidates":
        return sum(bool(x.candidates) for x in some)
    crops = [[i.path for i in x.images if i.role == "object" and i.path is not None] for x in some]
    return sum(any(os.path.isfile(path) for path in own) for own in crops)  # noqa: PTH113
