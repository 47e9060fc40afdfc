"""The regions of an example's photos that its object images are."""

from __future__ import annotations

from collections.abc import Iterator

from mmkit.data.types import Example, Image, Region


def regions_in(example: Example) -> Iterator[tuple[Image, Region | None]]:
    """Each object image, and its region; None where it is no box in a photo of the example.

    Blank ones are left out, as an encoder does, which reads the others in this order.
    """
    photos: dict[str | None, int] = {}
    for i, image in enumerate(example.images):
        if image.role == "photo":
            photos.setdefault(image.path, i)  # a photo may be there twice: gold boxes name the first
    for image in example.images:
        if image.role == "object" and image.path is not None:
            place = photos.get(image.path)
            yield image, None if image.box is None or place is None else Region(place, image.box)
