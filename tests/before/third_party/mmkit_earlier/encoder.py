"""`earlier.colours.v1`: pictures as the mean colours of a grid's cells, stored once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mmkit.batch import Features
from mmkit.data.images import content_key, open_image
from mmkit.data.types import Entity, Example, Image
from mmkit.encoders.base import BLANK, ItemEncoder
from mmkit.errors import ImageError


class ColourEncoder(ItemEncoder):
    """A fixed random projection of the colours of a picture's `cells` by `cells` cells.

    An example has two slots: its first photo, and its first object picture.

    Features: `pooled [B, 2, D]`, and `mask [B, 2]`.
    """

    provides = frozenset({"pooled", "mask"})
    version: ClassVar[str] = "earlier.colours.v1"
    reads_pictures = True

    def __init__(
        self, cells: int = 2, width: int = 12, feature_dtype: Literal["float32", "float16"] = "float32"
    ) -> None:
        super().__init__(feature_dtype)
        self.cells, self.width, self.frozen = cells, width, True

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        if saved is not None:
            self.cells = json.loads((saved / "colours.json").read_text(encoding="utf-8"))["cells"]
        self.projection = nn.Linear(3 * self.cells**2, self.width, bias=False)
        self.requires_grad_(False)
        self.dim = self.width

    def save(self, folder: Path) -> None:
        (folder / "colours.json").write_text(json.dumps({"cells": self.cells}), encoding="utf-8")

    def items(self, x: Example | Entity) -> list[tuple[str, Any]]:
        found = []
        for role in ("photo", "object"):
            image = next((image for image in x.images if image.role == role), Image(None))
            try:
                found.append((content_key(image), image))
            except ImageError as error:
                if self.missing_images == "error":
                    raise
                self.replaced[error.where] = error.what
                found.append((BLANK, self.blank()))
        return found

    def load(self, raw: Any) -> Tensor:
        if raw.path is None:
            return torch.zeros(3 * self.cells**2)
        small = open_image(raw).convert("RGB").resize((self.cells, self.cells))
        return torch.from_numpy(np.asarray(small, dtype=np.float32)).flatten() / 127.5 - 1

    def blank(self) -> Image:
        return Image(None)

    def network(self, stack: Tensor) -> Features:
        return {"pooled": self.projection(stack)}

    def describe(self) -> dict[str, Any]:
        return {"cells": self.cells, "width": self.width}
