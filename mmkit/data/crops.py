"""The images of a post: its photo, the object crops that a table lists for it, or blank images instead."""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from mmkit.data.image_paths import meant
from mmkit.data.inside import inside, leads_out
from mmkit.data.json_text import read_json
from mmkit.data.types import Entity, Example, Image
from mmkit.errors import DataError
from mmkit.pretrained.bad_files import BadFile
from mmkit.pretrained.checkpoints import read_weights

X = TypeVar("X", bound=Example | Entity)

_SHAPE = "a crop table maps an image's file name, or a line's index from 0, to a list of crop files"


_NO_TABLE = 'download the table that belongs to the images, or set `missing_crops = "none"` to use no crops'


class ReadsCrops(Protocol):
    """The settings of a reader that may have a crop table; paths are relative to `root`."""

    root: str
    crops: str | None
    crop_images: str
    max_crops: int
    missing_crops: Literal["error", "none"]
    repairs: Counter[str]


@dataclass(frozen=True)
class CropTable:
    """The crop files of each post, and the folder that contains them.

    On disk: JSON, or a file of `torch.save` as HVPNeT's authors publish them. Keys are the photo's file name
    (Twitter) or the line's index from 0 (MNRE).
    """

    entries: Mapping[str | int, Sequence[str]]
    folder: str = ""
    limit: int = 3

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise DataError(f"the number of crops must be 0 or more, not {self.limit}", code="part.setting")

    @classmethod
    def load(cls, path: Path, folder: str = "", limit: int = 3) -> CropTable:
        """Read a table; only the first `limit` crops of a post are used.

        A torch file is read without executing pickled code. Raises `DataError` for anything but such a table, and for
        files that lead out of `folder`, if it is given.
        """
        try:
            table = read_json(path) if path.suffix == ".json" else _load_torch(path)
        except DataError as error:
            if path.exists():
                what = f"the crop table cannot be read: {error.what}"
                hint = f"{error.hint}; {_SHAPE}" if error.hint else _SHAPE
                raise DataError(what, where=error.where, hint=hint, code="crops.unreadable") from None
            raise DataError("no such crop table", where=path, hint=_NO_TABLE, code="crops.missing") from None
        except FileNotFoundError:
            raise DataError("no such crop table", where=path, hint=_NO_TABLE, code="crops.missing") from None
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(
                f"the crop table cannot be read: {error}", where=path, hint=_SHAPE, code="crops.unreadable"
            ) from error
        _check(table, path, folder)
        return cls(table, folder, limit)

    @classmethod
    def of_reader(cls, reader: ReadsCrops) -> CropTable:
        """The table that a reader's settings name; an empty one if they name none.

        A table that does not exist is an error, or counted in the reader's `repairs` with `missing_crops = "none"`.
        """
        if reader.crops is None:
            return cls({})
        path = Path(reader.root) / reader.crops
        if reader.missing_crops == "none" and not path.exists():
            reader.repairs[f"crop table that does not exist, so no object crops: {path}"] += 1
            return cls({})
        return cls.load(path, under(reader.root, reader.crop_images), reader.max_crops)

    def files(self, *keys: str | int) -> list[str]:
        """The crop files of the first of `keys` that is in the table; none if no key is."""
        for key in keys:
            if key in self.entries:
                return [under(self.folder, name) for name in self.entries[key][: self.limit]]
        return []

    def count_unused(self, posts: int, named: int, repairs: Counter[str]) -> None:
        """Count the posts of a file in `repairs` if the table names none of them: it belongs to another file."""
        if self.entries and posts and not named:
            repairs["post, none of which the crop table names, so that no object crops are used"] += posts


def crop_table_files(reader: ReadsCrops) -> list[Path]:
    """The crop table, for the list of files that decide what a reader reads."""
    if reader.crops is None:
        return []
    path = Path(reader.root) / reader.crops
    return [path] if reader.missing_crops == "error" or path.exists() else []


def under(folder: str, *path: str) -> str:
    """`path` inside `folder`, or `path` itself if it is absolute; pathlib would change `a//b` and `./a`."""
    return os.path.join(folder, *path)  # noqa: PTH118


def post_images(photo: str | None, crops: Sequence[str], blank: bool) -> tuple[Image, ...]:
    """The photo, if there is one, and its crops, in that order; with `blank`, as many blank images."""
    own = () if photo is None else (Image(photo, "photo"),)
    images = (*own, *(Image(path, "object") for path in crops))
    return tuple(replace(i, path=None) for i in images) if blank else images


def blanked(x: X) -> X:
    """`x` with each of its images replaced by a blank one of the same role."""
    return replace(x, images=tuple(Image(None, i.role) for i in x.images))


def found(x: X, repairs: Counter[str]) -> X:
    """`x` with the path of each image replaced by the file that it means (see `mmkit.data.image_paths.meant`)."""
    paths = [None if image.path is None else meant(image.path, repairs) for image in x.images]
    if paths == [image.path for image in x.images]:
        return x
    pairs = zip(paths, x.images, strict=True)
    return replace(x, images=tuple(replace(image, path=path) for path, image in pairs))


def _load_torch(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        return read_weights(path)
    except BadFile as error:
        raise ValueError(f"it {error.what}") from error


def _check(table: Any, path: Path, folder: str) -> None:
    if not isinstance(table, dict):
        raise DataError(
            f"the crop table is a {type(table).__name__}, not a dictionary",
            where=path,
            hint=_SHAPE,
            code="crops.not-a-table",
        )
    for key, names in table.items():
        listed = isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names)
        if not isinstance(key, (str, int)) or not listed:
            raise DataError(
                f"the entry {key!r} of the crop table is not a list of files",
                where=path,
                hint=_SHAPE,
                code="crops.not-a-table",
            )
        for name in names:
            if folder and inside(folder, name) is None:
                raise leads_out(
                    f"the crop {name!r} of {key!r} leads out of the folder {folder}",
                    path,
                    "crop_images",
                    code="data.leads-out",
                )
