"""`mimic.picture.v1`: CLIP's vision tower with the states of all patches, for mentions and for entities."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, Image, TextView
from mmkit.encoders.clip_image import ClipImageEncoder
from mmkit.encoders.pictures import Pictures, Transform
from mmkit.ops.losses import unit
from mmkit_mimic.text import tiny_clip


class PictureTower(ClipImageEncoder):
    """Reads the first photo of a mention or an entity by CLIP's vision tower.

    The photo is stretched to the network's square by Lanczos (its proportions are not kept). A record without a photo
    is read as a blank one: zeros after normalisation, which go through the network. With `any_photo`, a batch of
    training reads one of an entity's photos, chosen anew each time; everything else reads the first.

    Features: `pooled [B, 1, D]`, the projection, of length 1; `tokens [B, 1, 1 + P, W]`, the class token and the
    patches of the last layer, before the final LayerNorm. `token_dim` is W. Source: the paper's section 4.2 and the
    authors' `codes/model/modeling_mimic.py`.
    """

    provides = frozenset({"pooled", "tokens", "mask"})
    version: ClassVar[str] = "mimic.picture.v1"

    def __init__(
        self,
        name: str,
        *,
        any_photo: bool = True,
        revision: str | None = None,
        frozen: bool = False,
        store: bool = True,
    ) -> None:
        super().__init__(name, revision=revision, frozen=frozen, store=store)
        self.source = Pictures(1)
        self.any_photo, self.token_dim = any_photo, 0

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        super().build(special_tokens, saved)
        side: Any = self.backbone.config.image_size
        stretch = stretched(side, self.processor.image_mean, self.processor.image_std)
        self.source.set_transform(stretch, (3, side, side))
        self.token_dim = self.backbone.config.hidden_size

    def pictures_read(self, example: Example | Entity) -> Sequence[Image] | None:
        if isinstance(example, Entity) and self.any_photo and not self.frozen:
            return [image for image in example.images if image.role == "photo"]  # by and by
        return super().pictures_read(example)

    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        if self.training and self.any_photo and not self.frozen:
            examples = [one_photo(x) if isinstance(x, Entity) else x for x in examples]
        return super().collate(examples, views)

    def network(self, items: Features) -> Features:
        """Features `[N, ...]` of `pixels [N, 3, H, W]`."""
        seen = self.backbone(pixel_values=items["pixels"])
        return {"pooled": unit(seen.image_embeds), "tokens": seen.last_hidden_state}

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "resize": "stretched"}

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny CLIP, which `mimic.text.v1` uses too, beside `folder`."""
        return tiny_clip(folder, cls.version, seed, examples)


def stretched(side: int, mean: Sequence[float], deviation: Sequence[float]) -> Transform:
    """A function from an image to `[3, side, side]`: stretched, then normalised."""
    shift, scale = (torch.tensor(numbers).view(3, 1, 1) for numbers in (mean, deviation))

    def prepared(picture: Pillow.Image) -> Tensor:
        resized = picture.convert("RGB").resize((side, side), Pillow.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.array(resized, dtype=np.float32)).permute(2, 0, 1) / 255
        return (pixels - shift) / scale

    return prepared


def one_photo(entity: Entity) -> Entity:
    """The entity with one of its photos. The choice follows from the seed of the update, whatever thread asks."""
    photos = [image for image in entity.images if image.role == "photo"]
    if len(photos) < 2:
        return entity
    number = zlib.crc32(f"{torch.initial_seed()} {entity.id}".encode())
    return replace(entity, images=(photos[number % len(photos)],))
