"""Reading a data file without a recipe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

from mmkit.config.parameters import parameters
from mmkit.data.reader import Reader
from mmkit.registry import build_part, readers


def read(path: str | Path, reader: str = "mmkit.jsonl.v1", **settings: Any) -> Reader:
    """The reader of a data file. Iterating over it gives `Example`s, or `Entity`s of a knowledge base.

    `reader` is the name of a registered reader, or only its middle (`label-studio`), and `settings` are its settings;
    paths in them are relative to the file's folder. After an iteration, `repairs` counts what was skipped or corrected.
    Raises `PartError` for an unknown reader and for settings that it does not take; the iteration raises `DataError`.

        for example in mmkit.read("posts.jsonl"):
            print(example.text)
    """
    file = Path(path)
    arguments = {"root": str(file.parent), "file": file.name, **settings}
    built: Reader = build_part("readers", readers.full_name(reader), arguments)
    return built


def with_images_of(reader: type[Reader], path: Path, images: Path) -> dict[str, Any]:
    """Settings with which a reader of the file `path` looks for its images in the folder `images`."""
    setting = reader.pictures_in
    if not setting:
        return {"root": str(images), "file": os.path.relpath(path, images)}
    folder = os.path.relpath(images, path.parent)
    return {setting: [folder] if takes_list(reader, setting) else folder}


def takes_list(reader: type[Reader], setting: str) -> bool:
    """Whether a setting of a reader is a list; false if it has no such setting."""
    known = parameters(reader)
    hint = known[setting].hint if setting in known else None
    return "list" in str(hint) or list in get_args(hint)
