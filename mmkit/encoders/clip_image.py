"""`mmkit.clip_image.v1`: CLIP's projections of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from transformers import CLIPVisionModelWithProjection

from mmkit.batch import Features
from mmkit.data.types import Example
from mmkit.encoders.clip_backbone import clip_model, clip_network
from mmkit.encoders.clip_sample import write_tiny_clip
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.pictures import Pictures, input_size, pixels_of
from mmkit.errors import MMKitError, PartError
from mmkit.ops.precision import Precision
from mmkit.pretrained.networks import described
from mmkit.pretrained.source import Pretrained


class ClipImageEncoder(ItemEncoder):
    """CLIP's projection of each of a record's first `slots` photos or object crops, unnormalised.

    `name` is a CLIP model of the Hub (with an optional `revision`) or a local folder; its own image processor
    prepares the images. Missing images, and unreadable ones that may be blank, are zeros.

    Features: `pooled [B, n, D]` and `mask [B, n]`; n is the largest number of images of a record in the batch, at
    least 1.
    """

    captures = True
    provides = frozenset({"pooled", "mask"})
    version: ClassVar[str] = "mmkit.clip_image.v1"

    source: Pictures
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
        feature_precision: Precision = "fp32",
    ) -> None:
        if slots < 1:
            raise PartError(f"slots = {slots}, but an encoder reads at least one image", code="part.setting")
        photos, objects = (slots, 0) if source == "photo" else (0, slots)
        pictures = Pictures(photos, objects, drops_blanks=True)
        super().__init__(
            pictures,
            frozen=frozen,
            store=store,
            feature_dtype=feature_dtype,
            feature_precision=feature_precision,
        )
        self.name, self.revision = name, revision

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Load network and image processor. Raises `PartError` if they cannot be loaded or do not fit."""
        model = self._model(saved)
        self.backbone = clip_network(
            CLIPVisionModelWithProjection, self.name, self.revision, saved, self.frozen
        )
        self.processor: Any = model.image_processor()
        transform = pixels_of(self.processor)
        side: Any = self.backbone.config.image_size
        self.source.set_transform(transform, input_size(self.name, transform, side))
        self.dim = self.backbone.config.projection_dim
        if self.frozen:
            self.requires_grad_(False).train()

    def _model(self, saved: Path | None = None) -> Pretrained:
        needs = ("pictures",) if saved else ("weights", "pictures")
        return clip_model(self.name, self.revision, saved, needs)

    def problems(self) -> Iterator[MMKitError]:
        yield from self._model().problems()

    def weight_bytes(self) -> int | None:
        return self._model().weight_bytes()

    def network(self, items: Features) -> Features:
        """`pooled [N, D]` of `pixels [N, 3, H, W]`."""
        return {"pooled": self.backbone(pixel_values=items["pixels"]).image_embeds}

    def describe(self) -> dict[str, Any]:
        return {"processor": self.processor.to_dict(), "config": described(self.backbone)}

    def save(self, folder: Path) -> None:
        """Write the configurations of the network and the image processor to `folder`."""
        self.backbone.config.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny CLIP, which `mmkit.clip_text.v1` uses too, beside `folder`."""
        return {"name": str(write_tiny_clip(folder, seed, examples)), "revision": None}
