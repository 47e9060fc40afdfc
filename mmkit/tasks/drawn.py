"""Photos for notebooks: small copies inside the page, and boxes over them. No file is needed to show them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from mmkit.data.types import Box, Image
from mmkit.errors import ImageError
from mmkit.tasks.notebook import CROP_SIDE, SIDE, badge

if TYPE_CHECKING:
    from mmkit.tasks.answer import Words

Boxes = Sequence[tuple[str, str, Box]]
"""Each `(label, words, box)`, in pixels of the file."""


def drawn_photos(images: Sequence[str | None], unread: Sequence[int], found: Iterable[Words]) -> str:
    """The photos of an answer, with the boxes of what words name; empty if there are none.

    `unread` are the places of photos that the model did not look at. The files are opened: paths must be those of the
    person who looks, never a stranger's.
    """
    boxes: dict[str, list[tuple[str, str, Box]]] = {}
    for words in found:
        for region in words.regions:
            if region.path is not None:
                boxes.setdefault(region.path, []).append((words.label, words.text, region.box))
    paths = [*images, *(path for path in boxes if path not in images)]
    if not paths:
        return ""
    photos = [_figure(path, boxes.get(path or "", ()), i in unread) for i, path in enumerate(paths)]
    told = [
        f'<li class="said">{escape(f"{label}: {words}")}</li>'
        for own in boxes.values()
        for label, words, _ in own
    ]
    regions = f"<ul>{''.join(told)}</ul>" if told else ""
    return f'<div class="heading">Images</div>{"".join(photos)}{regions}'


def _figure(path: str | None, boxes: Boxes, unread: bool) -> str:
    photo, (width, height) = _copy(Image(path), SIDE, "photo")
    frames = "".join(_frame(label, words, box, width, height) for label, words, box in boxes) if width else ""
    told = escape(path or "") + (" (not looked at by this model)" if unread else "")
    return f'<figure><span class="photo">{photo}{frames}</span><figcaption>{told}</figcaption></figure>'


def small_picture(image: Image, alt: str) -> str:
    """A small copy of an entity's picture, or the reason why there is none."""
    return _copy(image, CROP_SIDE, alt)[0]


def _copy(image: Image, side: int, alt: str) -> tuple[str, tuple[int, int]]:
    """A copy, and the size of the image in pixels; (0, 0) if it is not shown."""
    from mmkit.data.images import open_image

    if image.path is None:
        return '<span class="dim">blank image</span>', (0, 0)
    try:
        picture = open_image(image)
    except ImageError as error:
        return f'<span class="dim">image not shown: {escape(error.what)}</span>', (0, 0)
    size = picture.size
    picture.thumbnail((side, side))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=80)
    source = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
    return f'<img src="{source}" alt="{escape(alt)}">', size


def _frame(label: str, words: str, box: Box, width: int, height: int) -> str:
    """A box with its words in the corner."""
    left, top, right, bottom = box
    place = {
        "left": left / width,
        "top": top / height,
        "width": max(0.0, right - left) / width,
        "height": max(0.0, bottom - top) / height,
    }
    style = "; ".join(f"{side}: {100 * share:.4g}%" for side, share in place.items())
    told = f"{label}: {words}"
    return f'<span class="box said" style="{style}" title="{escape(told)}">{badge(label, told)}</span>'
