"""Writing a report: the page, and a folder of images if they do not fit into it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit import RunError
from mmkit.files import atomic, explained
from mmkit_report.document import document
from mmkit_report.names import common_folder
from mmkit_report.page import page
from mmkit_report.thumbnails import LIMIT, Thumbnails


def write_report(
    runs: Sequence[str | Path],
    split: str,
    output: Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    blank: bool = False,
    inspect: bool = False,
    limit: int = LIMIT,
    device: str = "auto",
    note: Callable[[str], None] = lambda message: None,
) -> Path | None:
    """Write the report of runs into the file `output`. The folder of images beside it, if there is one.

    Images beyond `limit` bytes are in that folder, which an earlier report of the same name is removed from. Raises
    `RunError` if the file cannot be written, or if its folder of images is something else.
    """
    folder = output.with_name(f"{output.stem}_images")
    with explained(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    with explained(folder):
        images = Thumbnails(folder, limit)
        content = document(
            runs, split, images, overrides, blank=blank, inspect=inspect, device=device, note=note
        )
    names = [str(run) for run in runs]
    shown = [name.removeprefix(common_folder(names)) for name in names]
    with atomic(output) as file:
        file.write(page(content, f"{', '.join(shown)}: {split}"))
    return folder if images.beside else None


def _clear(folder: Path) -> None:
    """Remove the images of an earlier report. Raises `RunError` if the folder holds anything else."""
    if not folder.exists() and not folder.is_symlink():
        return
    own = folder.is_dir() and not folder.is_symlink()
    if not own or any(path.suffix != ".jpg" or not path.stem.isdecimal() for path in folder.iterdir()):
        raise RunError(
            "this is where the report's images go, but it is not a folder of an earlier report's images",
            where=folder,
            hint="remove it, or name another --output",
            code="report.images-folder",
        )
    shutil.rmtree(folder)
