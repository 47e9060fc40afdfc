"""The files of captions that PGIM's authors published: `BLIP2_15.txt` and `BLIP2_17.txt`."""

from __future__ import annotations

from pathlib import Path

from mmkit.data.lines import numbered_lines
from mmkit.errors import DataError

SOURCE = "the authors' files are in data/ImageCaption of https://github.com/JinYuanLi0012/PGIM"

ENDING = ".jpg"


def read_captions(file: Path | str) -> dict[str, str]:
    """The name of a photo, without its ending → its caption, which may be empty.

    A line is the photo's file name, a blank, a colon and the caption (`108911.jpg :the chicago bears`). A caption may
    hold colons. Empty lines are skipped. Raises `DataError`, with file and line, for a line of another form and for a
    photo with two different captions.
    """
    path = Path(file)
    captions: dict[str, str] = {}
    for number, line in numbered_lines(path, SOURCE):
        if not line.strip():
            continue
        photo, colon, caption = line.partition(":")
        name = photo.strip().removesuffix(ENDING)
        if not colon or not photo.strip().endswith(ENDING) or not name:
            raise DataError(
                f"a line that is no caption: {line[:60]!r}",
                where=f"{path}:{number}",
                hint="each line is the name of a photo, a blank, a colon and its caption: `108911.jpg :a dog`",
                code="pgim.caption-line",
            )
        if captions.setdefault(name, caption.strip()) != caption.strip():
            raise DataError(
                f"a second caption of the photo {name}",
                where=f"{path}:{number}",
                hint="keep one of them",
                code="pgim.second-caption",
            )
    return captions
