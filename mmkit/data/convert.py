"""Any reader's data as canonical jsonlines."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

from mmkit.data.expected import records
from mmkit.data.jsonlines import Kind, write_jsonl
from mmkit.data.reader import Reader
from mmkit.data.types import Entity, Example, Image, Media

M = TypeVar("M", Image, Media)


def convert(reader: Reader, dst: Path | str) -> dict[str, int]:
    """Write what `reader` reads to the jsonlines file `dst`, as a stream; return counts of what was written.

    Images and other media below the destination's folder get paths relative to it (read the file with that folder as
    `root`), all others get absolute paths. Afterwards the reader's `repairs` counts what it skipped or corrected.
    Raises `DataError` for data that cannot be read, and if the disk refuses.
    """
    counts: Counter[str] = Counter()
    folder = os.path.abspath(Path(dst).parent)  # noqa: PTH100 - of a string, and leaves symlinks as named
    found = records(reader)
    first = next(found, None)
    kind: Kind = "entities" if isinstance(first, Entity) else "examples"

    def moved() -> Iterator[Example | Entity]:
        for x in chain(() if first is None else (first,), found):
            counts[kind] += 1
            counts["images"] += len(x.images)
            if isinstance(x, Example):
                counts.update(tokens=len(x.tokens), spans=len(x.spans), relations=len(x.relations))
            images = tuple(_moved(image, folder) for image in x.images)
            yield replace(x, images=images, media=tuple(_moved(m, folder) for m in x.media))

    counts[kind] = 0
    write_jsonl(dst, moved(), kind)
    return dict(counts)


def _moved(medium: M, folder: str) -> M:
    if medium.path is None:
        return medium
    path = os.path.abspath(medium.path)  # noqa: PTH100 - thousands of them
    below = os.path.join(folder, "")  # noqa: PTH118 - with a separator at its end
    return replace(medium, path=path.removeprefix(below))
