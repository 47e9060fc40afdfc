"""Reading a data file without a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
