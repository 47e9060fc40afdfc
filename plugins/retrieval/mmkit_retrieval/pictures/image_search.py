"""Images of an index that are similar to a given image, to inspect the index."""

from __future__ import annotations

from pathlib import Path

from mmkit.data.images import open_image
from mmkit.data.types import Image
from mmkit_retrieval.retrieved import Retrieved


def find_like(
    folder: Path, image: Path, top: int, clip: str | None = None, device: str = "auto"
) -> list[Retrieved]:
    """The `top` images in the image index `folder` that are most similar to the file `image`, best first.

    `clip` is a folder with the CLIP model of the index, for the case that it cannot be loaded by its name. Raises
    `DataError` if the index or the image cannot be read, and `PartError` if `clip` is another model.
    """
    from mmkit.inference.devices import pick_device
    from mmkit_retrieval.pictures.clip_images import clip_of
    from mmkit_retrieval.pictures.image_index import ImageIndex

    index, picture = ImageIndex.open(folder), open_image(Image(str(image)))
    if index.model is None:  # the index has no images
        return []
    network = clip_of(index.model, clip, str(pick_device(device)))
    return index.search(network.vectors([network.pixels(picture)]), top)[0]
