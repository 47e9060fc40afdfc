"""`mmkit.timm.v1`: one pooled vector for each image, from any timm model."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from mmkit.batch import Features
from mmkit.encoders.timm_backbone import TimmPictures


class TimmEncoder(TimmPictures):
    """Pooled image features of any timm model, without its classifier.

    Features: `pooled [B, slots, D]` and `mask [B, slots]`, False where an image is blank.
    """

    captures = True
    provides = frozenset({"pooled", "mask"})
    version: ClassVar[str] = "mmkit.timm.v1"

    def model_options(self) -> dict[str, Any]:
        return {"num_classes": 0}

    def measure(self, blank: Tensor) -> int:
        width: int = self.backbone(blank).shape[1]
        return width

    def network(self, items: Features) -> Features:
        """`pooled [N, D]` of `pixels [N, 3, H, W]`."""
        return {"pooled": self.backbone(items["pixels"])}
