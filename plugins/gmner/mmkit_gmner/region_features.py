"""`gmner.region_features.v1`: the features that a detector gave with its regions, read from files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmkit.batch import Features
from mmkit.data.images import content_key, open_image
from mmkit.data.regular import is_file
from mmkit.data.types import Entity, Example, Image
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import BLANK, MissingImages
from mmkit.encoders.pictures import Pictures
from mmkit.errors import DataError, ImageError, PartError
from mmkit_gmner.sample import FEATURES, regions_of
from mmkit_gmner.vinvl import read_features, region_file


class RegionFiles(Pictures):
    """The features of a record's first `slots` object images, from the files of regions in a folder."""

    def __init__(self, folder: Path, slots: int, width: int) -> None:
        super().__init__(0, slots, drops_blanks=True)
        self.folder, self.width = folder, width

    def items(self, x: Example | Entity, missing: MissingImages) -> list[tuple[str, Image]]:
        """A key of photo, box and file of regions, and the `Image`, of each slot."""
        return [self._item_of(image, missing) for image in self.chosen(x)]

    def _item_of(self, image: Image, missing: MissingImages) -> tuple[str, Image]:
        try:
            if image.path is None:
                return BLANK, image
            return f"{content_key(Image(str(self._file(image))))}:{content_key(image)}", image
        except ImageError as error:
            missing.excuse(error)
            return BLANK, self.blank()

    def _file(self, image: Image) -> Path:
        file = region_file(self.folder, str(image.path))
        if not is_file(file):
            raise ImageError(
                "there is no such file of regions with their features",
                where=str(file),
                hint=f'it belongs to {image.path}; [data] missing_images = "blank" does without',
                code="gmner.no-features",
            )
        return file

    def load(self, raw: Image) -> Tensor:
        """The features `[width]` of an object image; zeros for a blank one."""
        if raw.path is None:
            return torch.zeros(self.width)
        file = self._file(raw)
        version = content_key(Image(str(file))), content_key(Image(raw.path))
        size, boxes, features = _of_photo(raw.path, file, self.width, version)
        whole = (0.0, 0.0, *map(float, size))
        box = whole if raw.box is None else tuple(map(float, raw.box))
        same = np.flatnonzero((boxes == np.array(box)).all(axis=1))
        if len(same):
            return torch.from_numpy(features[same[0]])
        if box == whole:
            return torch.from_numpy(features.mean(0)) if len(features) else torch.zeros(self.width)
        raise DataError(
            f"none of its regions is {list(box)}, a region of {raw.path}",
            where=file,
            hint='let gmner.proposals.v1 read its regions from the same folder (source = "vinvl")',
            code="gmner.regions",
        )

    def stack(self, loaded: Sequence[Tensor]) -> Features:
        """`features [N, width]`."""
        return {"features": torch.stack(list(loaded))}

    def describe(self) -> dict[str, Any]:
        return {"width": self.width}


@lru_cache(maxsize=64)
def _of_photo(
    photo: str, file: Path, width: int, version: tuple[str, str]
) -> tuple[tuple[int, int], NDArray[Any], NDArray[np.float32]]:
    """The size of a photo, and boxes and features of its regions: once for all of them, until a file changes."""
    size = open_image(Image(photo)).size
    return size, *read_features(file, size, width)


class RegionFeatures(ItemEncoder):
    """Reads the features of each of a record's first `slots` object images from files, as VinVL's detector gives them.

    The files are those of H-Index (Yu et al., ACL 2023), one for each photo: `<id>.jpg.npz` in `folder`, with
    `bounding_boxes [n, 4]` in pixels and `box_features [n, width]`. The object images are the regions that
    `gmner.proposals.v1` takes from the same files (`source = "vinvl"`). The whole photo is among them, but not in the
    files: it gets the mean of all features of its file. The layout is read as it was published; the authors' own files
    were not available.

    A photo without a file is as one that is missing ([data] missing_images). Raises `DataError` for a damaged file, for
    features of another width, and for an object image that is none of the file's regions.

    Features: `pooled [B, n, width]` and `mask [B, n]`; n is the largest number of object images of a record in the
    batch, at least 1. Nothing is trained.
    """

    captures = True
    provides = frozenset({"pooled", "mask"})
    version: ClassVar[str] = "gmner.region_features.v1"

    def __init__(
        self,
        folder: str,
        slots: int = 16,
        *,
        width: int = 2048,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
    ) -> None:
        for name, value in (("slots", slots), ("width", width)):
            if value < 1:
                raise PartError(f"{name} = {value}, but it must be at least 1", code="part.setting")
        self.folder = Path(folder)
        super().__init__(RegionFiles(self.folder, slots, width), store=store, feature_dtype=feature_dtype)
        self.dim = width

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Makes nothing: the features are in files."""

    def check_there(self) -> None:
        if not self.folder.is_dir():
            raise DataError(
                "there is no such folder of regions with their features",
                where=self.folder,
                hint="docs/papers/gmner.md says what VinVL's files are; mmkit.clip_image.v1 needs none",
                code="file.missing",
            )

    def weight_bytes(self) -> int | None:
        return 0

    def save(self, folder: Path) -> None:
        """Writes nothing."""

    def describe(self) -> dict[str, Any]:
        return {}

    def network(self, items: Features) -> Features:
        """`pooled [N, width]`: the features as they are."""
        return {"pooled": items["features"]}

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """The features that lie beside the photos of this package's sample; for other photos, colours of quarters."""
        return {"folder": str(regions_of(examples, folder)), "width": FEATURES}
