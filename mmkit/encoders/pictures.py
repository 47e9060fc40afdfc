"""Images as items: slots, blanks, loading."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

import torch
from PIL import Image as Pillow
from torch import Tensor

from mmkit.batch import Features
from mmkit.data.images import content_key, open_image
from mmkit.data.types import Entity, Example, Image, Role
from mmkit.encoders.items import BLANK, ItemSource, MissingImages
from mmkit.errors import ImageError, PartError

Transform: TypeAlias = Callable[[Pillow.Image], Tensor]
"""Makes a normalised tensor `[3, H, W]` from an image."""


class Pictures(ItemSource[Image, Tensor]):
    """A record's first `photos` photos and `objects` object crops, in this order.

    Missing images are blank: the all-zero tensor after normalisation (the mean colour). The encoder's `build` calls
    `set_transform` to say how images are prepared.
    """

    pictures = True

    def __init__(self, photos: int = 1, objects: int = 0, drops_blanks: bool = False) -> None:
        self.photos, self.objects, self.drops_blanks = photos, objects, drops_blanks
        self._transform: Transform | None = None
        self._size = (3, 0, 0)

    def set_transform(self, transform: Transform, size: tuple[int, int, int]) -> None:
        """Prepare images with `transform`, which makes normalised tensors of `size` (3, H, W)."""
        self._transform, self._size = transform, size

    def items(self, x: Example | Entity, missing: MissingImages) -> list[tuple[str, Image]]:
        """Content key and `Image` of each slot; missing files are treated as `missing` says."""
        return [self._item(image, missing) for image in self.chosen(x)]

    def chosen(self, x: Example | Entity) -> list[Image]:
        """The first photos and object crops, blank ones where the record has fewer."""
        chosen = []
        roles: tuple[tuple[Role, int], ...] = (("photo", self.photos), ("object", self.objects))
        for role, count in roles:
            own = [image for image in x.images if image.role == role][:count]
            chosen += own + [Image(None, role)] * (count - len(own))
        return chosen

    def _item(self, image: Image, missing: MissingImages) -> tuple[str, Image]:
        try:
            return content_key(image), image
        except ImageError as error:
            missing.excuse(error)
            return BLANK, self.blank()

    def identity(self, x: Example | Entity) -> Hashable:
        return x.images

    def blank(self) -> Image:
        return Image(None)

    def load(self, raw: Image) -> Tensor:
        """The image as `[3, H, W]`, resized, cropped and normalised; zeros for a blank one."""
        return torch.zeros(self._size) if raw.path is None else self.prepared(open_image(raw))

    def prepared(self, picture: Pillow.Image) -> Tensor:
        """An image as input of the network `[3, H, W]`: resized, cropped and normalised."""
        if self._transform is None:
            raise RuntimeError("the encoder's `build` must call `set_transform` of its source of images")
        return self._transform(picture)

    def stack(self, loaded: Sequence[Tensor]) -> Features:
        """`pixels [N, 3, H, W]`."""
        return {"pixels": torch.stack(list(loaded))}


def pixels_of(processor: Any) -> Transform:
    """transformers' image processor as a function from an image to the network's input `[3, H, W]`."""
    return lambda picture: processor(images=picture, return_tensors="pt")["pixel_values"][0]


def input_size(name: str, transform: Transform, side: int | Sequence[int]) -> tuple[int, int, int]:
    """The size of prepared images of any shape. Raises `PartError` unless the network takes it (`side` pixels)."""
    height, width = (side, side) if isinstance(side, int) else side
    size = (3, height, width)
    for shape in ((60, 40), (40, 60)):
        made = tuple(transform(Pillow.new("RGB", shape)).shape)
        if made != size:
            raise PartError(
                f"the image processor of {name!r} makes {made} of an image, but the network takes {size}",
                hint="does preprocessor_config.json belong to the weights?",
                code="encoder.picture-size",
            )
    return size


def __getattr__(name: str) -> Any:
    if name == "PictureEncoder":
        raise ImportError(
            "mmkit.encoders.pictures.PictureEncoder is gone: derive from mmkit.encoders.item_encoder.ItemEncoder "
            "and give it source = Pictures(photos, objects); docs/plugins.md (Encoders of items) shows how"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
