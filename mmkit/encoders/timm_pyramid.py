"""`mmkit.timm_pyramid.v1`: a picture's feature maps of several depths, each pooled to a small grid."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkit.batch import Features
from mmkit.encoders.timm_backbone import TimmPictures
from mmkit.errors import PartError


class TimmPyramidEncoder(TimmPictures):
    """Feature maps of a timm model's last four stages (or of `levels`), pooled to `grid`×`grid` and joined.

    As in HVPNeT (Chen et al. 2022, section 3.1): a map of a side s is average-pooled with kernel = stride = s
    // grid, so that rows and columns left over at the end are dropped. For ResNet-50 the levels are layer1 to
    layer4, together 3840 channels, and parameters are named as torchvision's.

    Features: `grid [B, slots, C, grid, grid]` and `mask [B, slots]`, False where a picture is blank.
    """

    provides = frozenset({"grid", "mask"})
    version: ClassVar[str] = "mmkit.timm_pyramid.v1"

    def __init__(
        self,
        name: str,
        *,
        grid: int = 2,
        levels: list[int] | None = None,
        revision: str | None = None,
        photos: int = 1,
        objects: int = 0,
        frozen: bool = True,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
    ) -> None:
        super().__init__(
            name,
            revision=revision,
            photos=photos,
            objects=objects,
            frozen=frozen,
            store=store,
            feature_dtype=feature_dtype,
        )
        self.grid, self.levels = grid, levels

    def model_options(self) -> dict[str, Any]:
        return {"features_only": True, "out_indices": tuple(self.levels or (-4, -3, -2, -1))}

    def measure(self, blank: Tensor) -> int:
        maps = self.backbone(blank)
        if smallest := [m for m in maps if min(m.shape[-2:]) < self.grid]:
            raise PartError(
                f"grid = {self.grid}, but {self.name!r} has a feature map of {tuple(smallest[0].shape[-2:])}",
                hint="take a smaller grid, or other levels",
                code="encoder.grid",
            )
        return sum(m.shape[1] for m in maps)

    def network(self, items: Features) -> Features:
        """`grid [N, C, grid, grid]` of `pixels [N, 3, H, W]`."""
        return {"grid": torch.cat([self._pooled(m) for m in self.backbone(items["pixels"])], dim=1)}

    def _pooled(self, maps: Tensor) -> Tensor:
        g = self.grid
        kernel = (maps.shape[-2] // g, maps.shape[-1] // g)
        return F.avg_pool2d(maps, kernel, stride=kernel)[..., :g, :g]

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "grid": self.grid, "levels": self.levels}
