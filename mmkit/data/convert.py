"""Any reader's data in another format: canonical jsonlines, unless a writer says otherwise."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from mmkit.data.expected import records
from mmkit.data.image_paths import why_missing
from mmkit.data.inside import copied_from_outside
from mmkit.data.jsonl_writer import JsonlWriter
from mmkit.data.reader import Reader
from mmkit.data.types import Entity, Example, Image, Media
from mmkit.data.writer import Writer
from mmkit.errors import DataError

M = TypeVar("M", Image, Media)
X = TypeVar("X", bound=Example | Entity)


def convert(
    reader: Reader,
    dst: Path | str,
    writer: Writer | None = None,
    *,
    note: Callable[[str], None] = lambda message: None,
) -> dict[str, int]:
    """Write what `reader` reads to `dst`, as a stream; return counts of what was written.

    `writer` is that of the format; by default, `dst` is a file of canonical jsonlines. Images and other media below the
    destination's folder get paths relative to it (read the file with that folder as `root`), all others get absolute
    paths. Afterwards the reader's `repairs` counts what it skipped or corrected, and the writer's `losses` what the
    format has no place for. `note` is told of images without a file, whose paths are written all the same, and of
    images from outside the reader's folders, if the writer copies images. Raises `DataError` for data that cannot be
    read, and if the disk refuses.
    """
    refuse_own_file(reader, Path(dst))
    counts: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    copies, copied = writer is not None and writer.copies_images, dict[str, None]()
    folder = folder_of(dst)

    def counted() -> Iterator[Example | Entity]:
        for x in records(reader):
            kind = "entities" if isinstance(x, Entity) else "examples"
            if kind not in counts:
                counts[kind] = 0  # first in the order, too
            counts[kind] += 1
            counts["images"] += len(x.images)
            if copies:
                copied.update(dict.fromkeys(image.path for image in x.images if image.path is not None))
            for image in x.images:
                if image.path is not None and not os.path.exists(image.path):  # noqa: PTH110 - thousands of them
                    missing[image.path] += 1
            if isinstance(x, Example):
                counts.update(tokens=len(x.tokens), spans=len(x.spans), relations=len(x.relations))
            yield moved(x, folder)

    used = writer or JsonlWriter()
    used.write(Path(dst), counted())
    if copied and (said := copied_from_outside(copied, reader.picture_folders(), str(dst))):
        note(said)
    if missing:
        first = next(iter(missing))
        why = why_missing(first)
        told = f"{missing.total():,} of {counts['images']:,}; the first: {first}" + (
            f" ({why})" if why else ""
        )
        note(f"warning: images without a file: {told}")
    return dict(counts) or {"examples": 0}


def refuse_own_file(reader: Reader, dst: Path) -> None:
    """Raise `DataError` if what is to be written would replace a file that the reader reads."""
    if dst.exists() and any(file.exists() and file.samefile(dst) for file in reader.files()):
        raise DataError(
            "this file is read, so it cannot be written at the same time",
            where=dst,
            hint="name another file",
            code="file.same",
        )


def folder_of(dst: Path | str) -> str:
    """The folder that paths in a file are relative to, as an absolute path."""
    return os.path.abspath(Path(dst).parent)  # noqa: PTH100 - of a string, and leaves symlinks as named


def moved(x: X, folder: str) -> X:
    """A record with the paths of its images and other media as a file in `folder` has them; it is absolute."""
    if not x.images and not x.media:
        return x
    images = tuple(_moved(image, folder) for image in x.images)
    return replace(x, images=images, media=tuple(_moved(m, folder) for m in x.media))


def _moved(medium: M, folder: str) -> M:
    if medium.path is None or "://" in medium.path:  # an address of the web stays what it is
        return medium
    path = os.path.abspath(medium.path)  # noqa: PTH100 - thousands of them
    below = os.path.join(folder, "")  # noqa: PTH118 - with a separator at its end
    return replace(medium, path=path.removeprefix(below))
