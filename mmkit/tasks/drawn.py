"""Photos with boxes drawn over them, for notebooks: SVG that holds a small copy of the photo and needs no file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from mmkit.data.types import Box
from mmkit.errors import ImageError
from mmkit.tasks.notebook import INK, colour

if TYPE_CHECKING:
    from mmkit.tasks.answer import Words

SIDE = 480
"""The longer side of the copy, in pixels."""


def drawn_photos(found: Iterable[Words]) -> list[str]:
    """The photos that show what words name, with their boxes; see `drawn_photo`."""
    boxes: dict[str, list[tuple[str, str, Box]]] = {}
    for words in found:
        for region in words.regions:
            if region.path is not None:
                boxes.setdefault(region.path, []).append((words.label, words.text, region.box))
    return [drawn_photo(path, own) for path, own in boxes.items()]


def drawn_photo(path: str, boxes: Sequence[tuple[str, str, Box]]) -> str:
    """A photo with boxes, each `(label, words, box)` in pixels of the file; empty if the photo cannot be read.

    The photo is opened: paths must be those of the person who looks, never a stranger's.
    """
    from mmkit.data.images import open_image
    from mmkit.data.types import Image

    try:
        picture = open_image(Image(path))
    except ImageError:
        return ""
    width, height = picture.size
    picture.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=80)
    source = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
    line = max(width, height) / SIDE  # one pixel of the copy
    frames = "".join(_frame(label, words, box, line) for label, words, box in boxes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{picture.width}" role="img">'
        f"<title>{escape(path)}</title>"
        f'<image href="{source}" width="{width}" height="{height}"/>{frames}</svg>'
    )


def _frame(label: str, words: str, box: Box, line: float) -> str:
    """A box, dark outside and in the label's colour inside, with its words in the corner."""
    left, top, right, bottom = box
    sides = f'x="{left:g}" y="{top:g}" width="{max(0, right - left):g}" height="{max(0, bottom - top):g}"'
    told = escape(f"{words} ({label})")
    rects = "".join(
        f'<rect {sides} fill="none" stroke="{stroke}" stroke-width="{width * line:g}"/>'
        for stroke, width in ((INK, 5), (colour(label), 3))
    )
    text = (
        f'<text x="{left + 5 * line:g}" y="{top + 15 * line:g}" font-size="{13 * line:g}" fill="{colour(label)}" '
        f'stroke="{INK}" stroke-width="{3 * line:g}" paint-order="stroke">{told}</text>'
    )
    return f"<g><title>{told}</title>{rects}{text}</g>"
