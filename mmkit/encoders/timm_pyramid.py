"""`mmkit.timm_pyramid.v1`: an image's feature maps of several depths, each pooled to a small grid."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkit.batch import Features
from mmkit.encoders.timm_backbone import TimmPictures
from mmkit.errors import PartError
from mmkit.ops.precision import Precision
from mmkit.pretrained.timm_models import TimmModel

LAST_FOUR = (-4, -3, -2, -1)


class TimmPyramidEncoder(TimmPictures):
    """Several feature maps of a timm model, by default its last four, pooled to `grid`×`grid` and joined.

    `levels` are timm's numbers of feature maps: 0 is the first and largest, and negative ones count from the last, -1.
    A ResNet has five, 0 to 4: the stem's and those of layer1 to layer4. Maps are joined in the model's order.

    As in HVPNeT (Chen et al. 2022, section 3.1): a map of side s is average-pooled with kernel = stride = s
    // grid, so that rows and columns left over at the end are dropped. For ResNet-50 the last four maps have 3840
    channels together, and parameters are named as torchvision's.

    Features: `grid [B, slots, C, grid, grid]` and `mask [B, slots]`, False where an image is blank.

    Raises `ValueError` for `levels` without a number, and `PartError` in `build` for a number that the model does not
    have, for two that are the same map, and for a map smaller than `grid`.
    """

    captures = True
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
        feature_precision: Precision = "fp32",
    ) -> None:
        super().__init__(
            name,
            revision=revision,
            photos=photos,
            objects=objects,
            frozen=frozen,
            store=store,
            feature_dtype=feature_dtype,
            feature_precision=feature_precision,
        )
        if levels is not None and not levels:
            raise ValueError("levels must have at least one number; leave them out for the last four maps")
        self.grid, self.levels = grid, levels

    def model_options(self) -> dict[str, Any]:
        return {"features_only": True, "out_indices": self._wanted()}

    def _wanted(self) -> tuple[int, ...]:
        return LAST_FOUR if self.levels is None else tuple(self.levels)

    def refused(self, model: TimmModel) -> PartError | None:
        """A level beyond the model's feature maps."""
        count = model.maps()
        if count is None:
            return None
        if all(-count <= level < count for level in self._wanted()):
            return None
        return PartError(
            f"levels = {list(self._wanted())}, but {self.name!r} has {count} feature maps",
            hint=f"take numbers from 0 (the largest map) to {count - 1}, or from -{count} to -1 (the smallest)",
            code="encoder.levels",
        )

    def measure(self, blank: Tensor) -> int:
        maps = self._maps(blank)
        if len(maps) < len(self._wanted()):
            raise PartError(
                f"levels = {list(self._wanted())} name a feature map of {self.name!r} more than once",
                hint="name each map once; -1 is the last one",
                code="encoder.levels",
            )
        if smallest := [m for m in maps if min(m.shape[-2:]) < self.grid]:
            raise PartError(
                f"grid = {self.grid}, but {self.name!r} has a feature map of {tuple(smallest[0].shape[-2:])}",
                hint="use a smaller grid, or other levels",
                code="encoder.grid",
            )
        return sum(m.shape[1] for m in maps)

    def network(self, items: Features) -> Features:
        """`grid [N, C, grid, grid]` of `pixels [N, 3, H, W]`."""
        return {"grid": torch.cat([self._pooled(m) for m in self._maps(items["pixels"])], dim=1)}

    @property
    def _channels_last(self) -> bool:
        return bool(getattr(self.backbone, "output_fmt", "NCHW") == "NHWC")  # EfficientNets do not say

    def _maps(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps `[N, C, h, w]`, also of models that have their channels last, such as Swin."""
        maps: list[Tensor] = self.backbone(pixels)
        return [m.permute(0, 3, 1, 2) for m in maps] if self._channels_last else maps

    def _pooled(self, maps: Tensor) -> Tensor:
        g = self.grid
        kernel = (maps.shape[-2] // g, maps.shape[-1] // g)
        return F.avg_pool2d(maps, kernel, stride=kernel)[..., :g, :g]

    def describe(self) -> dict[str, Any]:
        own: dict[str, Any] = {"grid": self.grid, "levels": self.levels}
        if self._channels_last:
            own["channels"] = "last"  # once they were taken for rows, and features were stored so
        return {**super().describe(), **own}
