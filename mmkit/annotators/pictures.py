"""Base of annotators of images: keys, opening, and a report of images that cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from PIL import Image as Pillow

from mmkit.annotators.base import Annotator
from mmkit.data.images import content_key, open_image
from mmkit.data.types import Example, Image
from mmkit.errors import ImageError
from mmkit.terminal.notes import NAMED, capped


def picture_key(image: Image) -> str:
    """An image's identity: its role, and its content or that it is missing. Decodes nothing."""
    try:
        return f"{image.role} {content_key(image)}"
    except ImageError:
        return f"{image.role} missing"


def first_photo(x: Example) -> tuple[int, Image] | None:
    """The first photo and its position among the images of the example; None if there is none or it is blank."""
    photos = ((position, image) for position, image in enumerate(x.images) if image.role == "photo")
    found = next(photos, None)
    return None if found is None or found[1].path is None else found


class PictureAnnotator(Annotator):
    """An annotator of examples' images; images that are missing or broken have no result, and are reported.

    A result contains these images as `[position, reason]`, so that they are also reported if the result comes from
    the store.
    """

    without: ClassVar[str] = "no result"
    """The result for an image that cannot be read, in words: "no objects", for example."""

    def __init__(self) -> None:
        self.unreadable: dict[str, str] = {}
        """Path → reason, for images that could not be read."""
        self._reported: set[str] = set()

    def opened(
        self, images: Iterable[tuple[int, Image]], unreadable: list[list[Any]]
    ) -> Iterator[tuple[int, Pillow.Image]]:
        """Those of `images` (by position) that have a file, opened one at a time.

        Images that cannot be read are added to `unreadable`.
        """
        for position, image in images:
            if image.path is None:
                continue
            try:
                picture = open_image(image)
            except ImageError as error:
                unreadable.append([position, error.what])
                continue
            yield position, picture

    def remember(self, images: Sequence[Image], unreadable: Iterable[tuple[int, str]]) -> None:
        """Keep the images of a result that could not be read, for `finish` to report."""
        for position, reason in unreadable:
            self.unreadable[str(images[position].path)] = reason

    def finish(self) -> None:
        """Report the images that could not be read, each once."""
        log = logging.getLogger(type(self).__module__)
        new = {path: reason for path, reason in self.unreadable.items() if path not in self._reported}
        told = (f"{path}: {reason}; it has {self.without}" for path, reason in new.items())
        for line in capped(told, NAMED):
            log.warning("%s", line)
        self._reported.update(new)
