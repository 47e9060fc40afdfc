"""The state of a dataset's images: how many are present, missing, empty or broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from mmkit.data.boxes import Boxes
from mmkit.data.image_files import opened
from mmkit.data.image_paths import why_missing
from mmkit.data.images import open_image, orientation
from mmkit.data.problems import Problem
from mmkit.data.types import Entity, Example, Image
from mmkit.errors import ImageError
from mmkit.files import tidy

SHOWN = 3
"""Files that are named in a message, of each kind."""

ON_ITS_SIDE = 5
"""From this orientation of EXIF on, width and height change places."""

UNORIENTED = "unoriented"
"""The state of an image that is present, but whose metadata on its orientation are broken."""


@dataclass
class ImageReport:
    """The state of a dataset's images; a file is counted once, even if it is used several times."""

    present: int = 0
    missing: int = 0
    empty: int = 0
    broken: int = 0
    blank: int = 0
    """Images without a file."""
    unoriented: int = 0
    """Present files whose EXIF or XMP data are broken: they are not rotated."""
    photos: int = 0
    """Files that are photos, not crops of them."""
    photos_missing: int = 0
    """Photos that do not exist."""
    names: dict[str, list[str]] = field(default_factory=dict)
    """The "missing", "empty" and "broken" files, the last with their reason."""
    boxes: list[Problem] = field(default_factory=list)
    """Boxes that cut nothing useful out of their image."""

    @property
    def bad(self) -> int:
        """Files that cannot be used."""
        return self.missing + self.empty + self.broken

    @property
    def total(self) -> int:
        """All files."""
        return self.present + self.bad

    def counts(self) -> dict[str, int]:
        """The five counts by name."""
        return {state: getattr(self, state) for state in ("present", "missing", "empty", "broken", "blank")}

    def summary(self) -> str:
        """The number of files in each state, without their names: "9 files: 7 readable, 2 missing"."""
        states = [f"{n} {state}" for state in ("missing", "empty", "broken") if (n := self.counts()[state])]
        files = f"{self.total} file{'' if self.total == 1 else 's'}"
        readable = f"{files}: {', '.join([f'{self.present} readable', *states])}" if states else ""
        said = [readable or f"{files}, all readable"] if self.total else []
        if self.unoriented:
            said.append(f"{self.unoriented} with an unreadable orientation, used as they lie in the file")
        return "; ".join(said + [f"{self.blank} blank"] * bool(self.blank)) or "none"

    def faults(self) -> str:
        """The files that cannot be used, by what is wrong: "2 missing: a.jpg, b.jpg"."""
        return "; ".join(
            f"{len(names)} {state}: {', '.join(names[:SHOWN])}" + (", ..." if len(names) > SHOWN else "")
            for state, names in self.names.items()
        )

    def listed(self) -> Iterator[str]:
        """A line for each file that cannot be used, for a file that lists all of them."""
        for state, names in self.names.items():
            yield from (f"{name}\t{state}" for name in names)


def scan_images(
    examples: Iterable[Example | Entity],
    decode: bool = False,
    threads: int = 8,
    of: Callable[[Example | Entity], Sequence[Image]] = lambda x: x.images,
) -> ImageReport:
    """Look at every image file: its header, or with `decode` all of its pixels; and at the boxes in it.

    `of` says which images of a record matter.
    """
    images: list[Image] = []
    boxes = Boxes()
    for x in examples:
        chosen = of(x)
        images += chosen
        boxes.add(x, chosen)
    paths = list(dict.fromkeys(i.path for i in images if i.path is not None))
    photos = {i.path for i in images if i.path is not None and i.role == "photo"}
    sizes: dict[str, tuple[int, int]] = {}
    report = ImageReport(blank=sum(i.path is None for i in images), photos=len(photos))
    with ThreadPoolExecutor(threads) as pool:
        for path, (state, reason, size) in zip(
            paths, pool.map(lambda p: _state(p, decode), paths), strict=True
        ):
            if size is not None:
                sizes[path] = size
            if state == UNORIENTED:
                report.unoriented += 1
                state = "present"
            setattr(report, state, getattr(report, state) + 1)
            report.photos_missing += state == "missing" and path in photos
            if state != "present":
                named = f"{tidy(path)} ({reason})" if reason else tidy(path)
                report.names.setdefault(state, []).append(named)
    report.boxes = boxes.problems(sizes)
    return report


def _state(path: str, decode: bool) -> tuple[str, str, tuple[int, int] | None]:
    """What an `ImageReport` calls the file, the reason where that is "broken", and the upright image's size."""
    try:
        if not Path(path).stat().st_size:
            return "empty", "", None
    except FileNotFoundError:
        return "missing", why_missing(path), None
    except (OSError, ValueError) as error:
        return "broken", str(error), None
    try:
        with opened(path) as picture:
            turn, (width, height) = orientation(picture), picture.size
        if decode:
            open_image(Image(path))
    except ImageError as error:
        return "broken", f"{error.what} → {error.hint}" if error.hint else error.what, None
    if turn is None:
        return UNORIENTED, "", (width, height)
    return "present", "", (height, width) if turn >= ON_ITS_SIDE else (width, height)
