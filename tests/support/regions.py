"""A stand-in for the encoder of a photo's regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from mmkit.data.types import Entity, Example, TextView
from mmkit.testing import ImageEncoder


class RegionEncoder(ImageEncoder):
    """The stand-in for images, which reads object images alone."""

    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        own = [replace(x, images=tuple(i for i in x.images if i.role == "object")) for x in examples]
        return super().collate(own, views)
