"""Pictures of an index that are like one at hand, for a look into it."""

from __future__ import annotations

from pathlib import Path

from mmkit.data.images import open_image
from mmkit.data.types import Image
from mmkit.errors import PartError
from mmkit_more.retrieved import Retrieved


def find_like(
    folder: Path, image: Path, top: int, clip: str | None = None, device: str = "auto"
) -> list[Retrieved]:
    """The `top` pictures of the picture index in `folder` that are most like the file `image`, best first.

    `clip` is a folder with the index's CLIP model, if it cannot be had by its name. Raises `DataError` for an index
    or a picture that cannot be read, and `PartError` for another CLIP model than the index's.
    """
    from mmkit.training.devices import pick_device
    from mmkit_more.clip_pictures import ClipPictures, same_model
    from mmkit_more.image_index import ImageIndex

    index, picture = ImageIndex.open(folder), open_image(Image(str(image)))
    if index.model is None:
        return []
    name, revision = (clip, None) if clip else (index.model.clip, index.model.revision)
    network = ClipPictures(name, revision, str(pick_device(device)))
    if not same_model(network.probe().tolist(), index.model.probe):
        hint = "name a folder that holds the index's model"
        raise PartError(
            f"{name} is not the CLIP model of the index, {index.model.clip}", where=folder, hint=hint
        )
    return index.search(network.vectors([network.pixels(picture)]), top)[0]
