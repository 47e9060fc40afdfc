"""An encoder of numbers, whose features are known by heart, to test what stores, computes and reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, Image
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import BLANK, ItemSource, MissingImages
from mmkit.errors import ImageError


class Given(ItemSource[Image, Tensor]):
    """A picture's path is a number n; "missing" does not exist, and "broken" cannot be loaded."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.loaded: list[str] = []

    def items(self, x: Example | Entity, missing: MissingImages) -> list[tuple[str, Image]]:
        images = [*x.images, *[Image(None)] * self.slots][: self.slots]
        return [self._item(i, missing) for i in images]

    def _item(self, image: Image, missing: MissingImages) -> tuple[str, Image]:
        if image.path == "missing":
            missing.excuse(ImageError("no such image", where=image.path))
            return BLANK, self.blank()
        return (BLANK if image.path is None else f"key of {image.path}"), image

    def identity(self, x: Example | Entity) -> Any:
        return x.images

    def blank(self) -> Image:
        return Image(None)

    def load(self, raw: Image) -> Tensor:
        self.loaded.append(raw.path or BLANK)
        if raw.path == "broken":
            raise ImageError("the image is broken", where="broken")
        return torch.tensor(float(raw.path or 0))

    def stack(self, loaded: list[Tensor]) -> Features:
        return {"numbers": torch.stack(list(loaded))}


class Numbers(ItemEncoder):
    """A number n becomes n times a weight, fixed and ragged (n % 4 rows)."""

    version = "test.numbers.v1"
    ragged = frozenset({"rows_of"})
    source: Given

    def __init__(self, slots: int = 2, **options: Any) -> None:
        super().__init__(Given(slots), **options)
        self.weight = nn.Parameter(torch.arange(1.0, 4.0), requires_grad=False)

    @property
    def loaded(self) -> list[str]:
        return self.source.loaded

    def build(self, special_tokens=(), saved=None) -> None: ...

    def save(self, folder: Path) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {}

    def network(self, items: Features) -> Features:
        numbers = items["numbers"]
        lengths = numbers.long() % 4
        real = torch.arange(3) < lengths[:, None]
        rows = numbers[:, None, None] * self.weight * real[..., None]
        return {"fixed": numbers[:, None] * self.weight, "rows_of": rows, "lengths": lengths}


def example(*paths: str | None) -> Example:
    return Example("x", "a", ("a",), ((0, 1),), images=tuple(Image(p) for p in paths))


EXAMPLES = [example("1", "2"), example("3"), example("2", "7"), example(), example("11", None)]


def shard_files(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.safetensors"))


def features(encoder: ItemEncoder, examples: list[Example]) -> Features:
    inputs = encoder.collate(examples, [{}] * len(examples))
    return encoder(inputs)


def assert_same(ours: Features, theirs: Features) -> None:
    assert set(ours) == set(theirs)
    for name in ours:
        a, b = ours[name], theirs[name]
        if name == "rows_of":  # padding may be of different lengths
            length = min(a.shape[2], b.shape[2])
            assert not a[:, :, length:].any() and not b[:, :, length:].any()
            a, b = a[:, :, :length], b[:, :, :length]
        torch.testing.assert_close(a, b, atol=0, rtol=0)
