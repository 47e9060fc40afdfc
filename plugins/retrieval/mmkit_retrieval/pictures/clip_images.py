"""Images as unit vectors, from the image tower of a CLIP model (Radford et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from mmkit.encoders.clip_image import ClipImageEncoder
from mmkit.errors import PartError
from mmkit_retrieval.pictures.vectors import Model

Precision = Literal["auto", "float32", "bfloat16", "float16"]


class ClipImages:
    """CLIP's normalised projections of images.

    Args:
        name: a CLIP model of the Hub, or a folder that contains one.
        revision: the model's revision on the Hub.
        device: a torch device.
        precision: of the network; "auto" is float16 on a GPU and float32 elsewhere.

    Raises `PartError` if the model cannot be loaded or is not a CLIP model.
    """

    def __init__(
        self, name: str, revision: str | None = None, device: str = "cpu", precision: Precision = "auto"
    ) -> None:
        on_gpu = torch.device(device).type == "cuda"
        if precision == "auto":
            precision = "float16" if on_gpu else "float32"
        self.dtype: torch.dtype = getattr(torch, precision)
        self._encoder = ClipImageEncoder(name, revision=revision, store=False)
        self._encoder.build()
        self._encoder.to(device)
        self._encoder.backbone.to(self.dtype)

    @property
    def width(self) -> int:
        """D, the width of a vector."""
        return self._encoder.dim

    def pixels(self, picture: Pillow.Image) -> Tensor:
        """An image as input of the network, `[3, H, W]` on the CPU. Several threads may call this at once."""
        return self._encoder.source.prepared(picture)

    def vectors(self, pixels: Sequence[Tensor]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The unit vectors `[N, D]` of N such inputs."""
        if not pixels:
            return np.empty((0, self.width), np.float32)
        pooled = self._encoder.encode({"pixels": torch.stack(list(pixels)).to(self.dtype)})["pooled"]
        return torch.nn.functional.normalize(pooled.float(), dim=1).cpu().numpy()

    def probe(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The vector `[D]` of a fixed image. It identifies the model, wherever its files are."""
        across, down = np.meshgrid(np.arange(224), np.arange(224))
        stripes = np.stack([across, down, 255 * ((across // 28 + down // 28) % 2)], axis=2)
        vector: np.ndarray[Any, np.dtype[np.float32]] = self.vectors(
            [self.pixels(Pillow.fromarray(stripes.astype(np.uint8)))]
        )[0]
        return vector


def same_model(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two probes come from the same weights. Another precision or device changes a probe much less."""
    return len(one) == len(other) and float(np.dot(one, other)) > 0.99


def clip_of(
    model: Model, elsewhere: str | None = None, device: str = "cpu", precision: Precision = "auto"
) -> ClipImages:
    """The CLIP model that an index was built with. It is loaded by the name in the index, or from the folder
    `elsewhere`.

    Raises `PartError` if it cannot be loaded or is another model.
    """
    name, revision = (elsewhere, None) if elsewhere else (model.clip, model.revision)
    clip = ClipImages(name, revision, device, precision)
    hint = f"the index was built with {model.clip}: give that model, or a folder that contains it"
    if clip.width != model.width:
        what = f"the CLIP model {name} makes vectors of width {clip.width}, but those of the index have {model.width}"
        raise PartError(what, hint=hint, code="retrieval.other-clip")
    if not same_model(clip.probe().tolist(), model.probe):
        raise PartError(
            f"the CLIP model {name} is not the model of the index: it gives other vectors",
            hint=hint,
            code="retrieval.other-clip",
        )
    return clip
