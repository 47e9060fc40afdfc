"""Images of an index that are similar to a given image, to inspect the index."""

from __future__ import annotations

from pathlib import Path

from mmkit.data.images import open_image
from mmkit.data.types import Image
from mmkit_retrieval.retrieved import Retrieved


def find_like(
    folder: Path, image: Path, top: int, clip: str | None = None, device: str = "auto"
) -> list[Retrieved]:
    """The `top` images of the image index in `folder` that are most like the file `image`, best first.

    `clip` is a folder with the index's CLIP model, if it cannot be had by its name. Raises `DataError` for an index
    or an image that cannot be read, and `PartError` for another CLIP model than the index's.
    """
    from mmkit.inference.devices import pick_device
    from mmkit_retrieval.pictures.clip_images import clip_of
    from mmkit_retrieval.pictures.image_index import ImageIndex

    index, picture = ImageIndex.open(folder), open_image(Image(str(image)))
    if index.model is None:  # an index without an image
        return []
    network = clip_of(index.model, clip, str(pick_device(device)))
    return index.search(network.vectors([network.pixels(picture)]), top)[0]
