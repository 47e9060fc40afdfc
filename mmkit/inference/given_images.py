"""Images that a user gives from memory: written to files for as long as a model looks at them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
from PIL import Image as Pillow

from mmkit.data.image_files import broken
from mmkit.data.images import upright_rgb
from mmkit.data.types import Example, Image
from mmkit.errors import DataError, ImageError
from mmkit.tasks.sentence import is_missing

Picture: TypeAlias = (
    "str | Path | Image | Pillow.Image | bytes | bytearray | memoryview | np.ndarray[Any, Any]"
    " | Mapping[str, Any] | None"
)
"""An image as a user has it: a path, an `Image`, Pillow's image, the bytes of a file, an array `[H, W]`,
`[H, W, 3]` or `[H, W, 4]` of uint8, or a record `{"bytes": ..., "path": ...}` as Hugging Face datasets have them.
None and NaN mean no image."""

_ONE = (str, os.PathLike, Image, Pillow.Image, bytes, bytearray, memoryview, Mapping)


class GivenImages:
    """Gives every image a path. Those from memory are files of a temporary folder, which `close` removes.

    Nothing is written, and no folder made, for paths and `Image`s.
    """

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.names: dict[str, str] = {}
        """Path of a temporary file → what it is called in answers and messages."""
        self.bytes = 0
        """The size of the temporary files together."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the files."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def of(self, images: object, id: str) -> list[str | Path | Image]:
        """The images of one text: of one image, of a list of them, or of none (None, NaN).

        Raises `DataError` for what is not an image, and `ImageError` for an image of Pillow that cannot be decoded.
        """
        if is_missing(images):
            return []
        several = images if isinstance(images, Iterable) and not is_one(images) else [images]
        given = [image for image in several if not is_missing(image)]
        return [self._path(image, f"image {n} of {id} (in memory)") for n, image in enumerate(given)]

    def _path(self, image: object, name: str) -> str | Path | Image:
        if isinstance(image, str | Path | Image):
            return image
        if isinstance(image, os.PathLike):
            return str(os.fspath(image))
        if isinstance(image, Mapping):
            content, path = image.get("bytes"), image.get("path")
            if content is None and path is None:
                raise _not_a_picture(image, name)
            return self._path(path if content is None else content, name)
        if isinstance(image, bytes | bytearray | memoryview):
            file = self._file(name)
            file.write_bytes(image)
        else:
            picture = _of_array(image, name) if isinstance(image, np.ndarray) else image
            if not isinstance(picture, Pillow.Image):
                raise _not_a_picture(image, name)
            try:
                picture = upright_rgb(picture)
            except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
                raise broken(name, error) from error
            file = self._file(name)
            picture.save(file, format="PNG", compress_level=1)
        self.bytes += file.stat().st_size
        return file

    def _file(self, name: str) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="mmkit-pictures-")
        file = Path(self._folder.name) / str(len(self.names))
        self.names[str(file)] = name
        return file

    def named(self, example: Example) -> Example:
        """The example with the names of its images from memory, instead of the paths of their files."""
        if not self.names:
            return example
        return replace(
            example, images=tuple(replace(i, path=self.name(i.path)) if i.path else i for i in example.images)
        )

    @contextlib.contextmanager
    def named_in_messages(self, replaced: MutableMapping[str, str]) -> Iterator[None]:
        """Use the images' names in `ImageError`s of the block, and in the record of `replaced` images after it."""
        try:
            yield
        except ImageError as error:
            for path, name in self.names.items():
                if str(error.where).endswith(path):
                    raise error.at(name) from error
            raise
        finally:
            for path in self.names.keys() & replaced.keys():
                replaced[self.names[path]] = replaced.pop(path)

    def name(self, path: str) -> str:
        """What an image's file is called in answers and messages: its path, if the user gave one."""
        return self.names.get(path, path)


def is_one(images: object) -> bool:
    """Whether this is one image, not several. An array is one, unless it holds objects or images `[N, H, W, C]`."""
    if isinstance(images, np.ndarray):
        return images.dtype.kind not in "OUS" and images.ndim in (2, 3)
    return isinstance(images, _ONE)


def check_several(images: object, where: str) -> None:
    """Refuse one image where a list of images is expected. Raises `DataError`."""
    if is_one(images):
        what = "path" if isinstance(images, str | os.PathLike | Image) else "picture"
        shown = str(images.path if isinstance(images, Image) else images)
        raise DataError(
            f"images is one {what}, not a list of them",
            where=where,
            hint=f"images=[{shown!r}]" if what == "path" else "images=[image]",
            code="input.images",
        )
    if not isinstance(images, Iterable):
        raise DataError(
            f"images is a list of images, not a {type(images).__name__}",
            where=where,
            hint='images=["photo.jpg"]',
            code="input.images",
        )


def _of_array(array: np.ndarray[Any, Any], name: str) -> Pillow.Image:
    channels: Sequence[int] = array.shape[2:]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (channels and channels[0] not in (3, 4)):
        raise DataError(
            f"the image is an array {list(array.shape)} of {array.dtype}",
            where=name,
            hint="give [height, width], [height, width, 3] or [height, width, 4] of uint8, from 0 to 255",
            code="input.images",
        )
    if not array.size:
        raise DataError("the image is an array without pixels", where=name, code="input.images")
    return Pillow.fromarray(np.ascontiguousarray(array))


def _not_a_picture(image: object, name: str) -> DataError:
    return DataError(
        f"an image cannot be a {type(image).__name__}",
        where=name,
        hint="give a path, an Image, Pillow's image, the bytes of a file or a NumPy array",
        code="input.images",
    )
