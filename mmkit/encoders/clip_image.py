"""`mmkit.clip_image.v1`: pictures as CLIP's projections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor
from transformers import AutoImageProcessor, CLIPVisionModelWithProjection

from mmkit.batch import Features
from mmkit.data.types import Example
from mmkit.encoders.clip_backbone import clip_error, clip_network
from mmkit.encoders.clip_sample import write_tiny_clip
from mmkit.encoders.pictures import PictureEncoder, input_size, pixels_of
from mmkit.encoders.pretrained import LOADING_ERRORS, described, hub_options
from mmkit.errors import PartError


class ClipImageEncoder(PictureEncoder):
    """CLIP's projection of each of a record's first `slots` photos or object crops, unnormalised.

    `name` is a CLIP model of the Hub (with an optional `revision`) or a local folder; its own image processor
    prepares the pictures. Pictures that a record lacks, and unreadable ones where those may be blank, are zeros.

    Features: `pooled [B, n, D]` and `mask [B, n]`; n is the most pictures of a record in the batch, at least 1.
    """

    provides = frozenset({"pooled", "mask"})
    version: ClassVar[str] = "mmkit.clip_image.v1"
    drops_blanks: ClassVar[bool] = True

    backbone: CLIPVisionModelWithProjection

    def __init__(
        self,
        name: str,
        source: Literal["photo", "objects"] = "photo",
        *,
        slots: int = 1,
        revision: str | None = None,
        frozen: bool = True,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
    ) -> None:
        if slots < 1:
            raise PartError(f"slots = {slots}, but an encoder reads at least one picture")
        super().__init__(
            photos=slots if source == "photo" else 0,
            objects=slots if source == "objects" else 0,
            frozen=frozen,
            store=store,
            feature_dtype=feature_dtype,
        )
        self.name, self.source, self.revision = name, source, revision

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Load network and image processor. Raises `PartError` if they cannot be had or do not fit."""
        self.backbone = clip_network(
            CLIPVisionModelWithProjection, self.name, self.revision, saved, self.frozen
        )
        try:
            options = hub_options(None if saved else self.revision)
            self.processor: Any = AutoImageProcessor.from_pretrained(str(saved or self.name), **options)
        except LOADING_ERRORS as error:
            raise clip_error(str(saved or self.name), error) from error
        self.transform = pixels_of(self.processor)
        side: Any = self.backbone.config.image_size
        self.size = input_size(self.name, self.transform, side)
        self.dim = self.backbone.config.projection_dim
        if self.frozen:
            self.requires_grad_(False).train()

    def network(self, stack: Tensor) -> Features:
        """`pooled [N, D]` of pictures `[N, 3, H, W]`."""
        return {"pooled": self.backbone(pixel_values=stack).image_embeds}

    def describe(self) -> dict[str, Any]:
        return {"processor": self.processor.to_dict(), "config": described(self.backbone)}

    def save(self, folder: Path) -> None:
        """Write the configuration and the image processor's to `folder`."""
        self.backbone.config.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny CLIP, which `mmkit.clip_text.v1` uses too, beside `folder`."""
        return {"name": str(write_tiny_clip(folder, seed, examples)), "revision": None}
