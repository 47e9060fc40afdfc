"""What encoders of an example's pictures share: slots, blanks, loading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from PIL import Image as Pillow
from torch import Tensor

from mmkit.data.images import content_key, open_image
from mmkit.data.types import Entity, Example, Image, Role
from mmkit.encoders.base import BLANK, ItemEncoder
from mmkit.errors import ImageError, PartError


class PictureEncoder(ItemEncoder):
    """An encoder of an example's first `photos` photos and `objects` object crops, in this order.

    A picture that an example lacks is blank: the all-zero tensor after normalisation (the mean colour), which
    goes through the network like any other. `build` sets `transform` (a picture to a normalised tensor) and
    `size`.
    """

    reads_pictures = True
    transform: Callable[[Pillow.Image], Tensor]
    size: tuple[int, int, int] = (3, 0, 0)

    def __init__(
        self,
        *,
        photos: int = 1,
        objects: int = 0,
        frozen: bool = True,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
    ) -> None:
        super().__init__(feature_dtype)
        self.photos, self.objects, self.frozen, self.store = photos, objects, frozen, store

    @property
    def slots(self) -> int:
        """Pictures an example has for this encoder, blank ones among them."""
        return self.photos + self.objects

    def items(self, x: Example | Entity) -> list[tuple[str, Any]]:
        """Content key and `Image` of each slot; missing files as `missing_images` says."""
        return [self._item(image) for image in self._pictures(x)]

    def _pictures(self, x: Example | Entity) -> list[Image]:
        pictures = []
        roles: tuple[tuple[Role, int], ...] = (("photo", self.photos), ("object", self.objects))
        for role, count in roles:
            own = [image for image in x.images if image.role == role][:count]
            pictures += own + [Image(None, role)] * (count - len(own))
        return pictures

    def _item(self, image: Image) -> tuple[str, Image]:
        try:
            return content_key(image), image
        except ImageError as error:
            if self.missing_images == "error":
                raise
            self.replaced[error.where] = error.what
            return BLANK, self.blank()

    def blank(self) -> Image:
        return Image(None)

    def load(self, raw: Any) -> Tensor:
        """The picture as `[3, H, W]`, resized, cropped and normalised; zeros for a blank one."""
        return torch.zeros(self.size) if raw.path is None else self.transform(open_image(raw))


def pixels_of(processor: Any) -> Callable[[Pillow.Image], Tensor]:
    """transformers' image processor as a function from a picture to the network's input `[3, H, W]`."""
    return lambda picture: processor(images=picture, return_tensors="pt")["pixel_values"][0]


def input_size(
    name: str, transform: Callable[[Pillow.Image], Tensor], side: int | Sequence[int]
) -> tuple[int, int, int]:
    """What is made of pictures of any shape. Raises `PartError` unless the network takes it (`side` pixels)."""
    height, width = (side, side) if isinstance(side, int) else side
    size = (3, height, width)
    for shape in ((60, 40), (40, 60)):
        made = tuple(transform(Pillow.new("RGB", shape)).shape)
        if made != size:
            raise PartError(
                f"the image processor of {name!r} makes {made} of a picture, but the network takes {size}",
                hint="does preprocessor_config.json belong to the weights?",
            )
    return size
