"""Uploaded images as files of a folder of the server's, for as long as their request lasts; all are decoded once."""

from __future__ import annotations

import asyncio
import io
import itertools
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from mmkit.data.image_files import broken, opened
from mmkit.data.images import open_image, upright_rgb
from mmkit.data.types import Image
from mmkit.errors import DataError, ImageError
from mmkit.files.temporary import temporary_folder
from mmkit_serve.requests import Given
from mmkit_serve.settings import MEGA

T = TypeVar("T")

FOLDER = "mmkit-serve"
"""What the folder's name begins with, after a dot."""

THREADS = 2
"""Images are decoded by so many threads at a time, whatever the number of requests."""

THUMBNAIL = 256
"""The longer side of an entity's image, in pixels."""


@dataclass(frozen=True)
class Upload:
    """An image in a file, and what it is called in answers."""

    path: Path
    name: str


class Uploads:
    """Writes and checks images in threads of its own. `close` removes the folder.

    The folder of a server that was killed is removed by the next one.
    """

    def __init__(self, max_pixels: int) -> None:
        self.max_pixels = max_pixels
        self._open = ExitStack()
        self.folder = self._open.enter_context(temporary_folder(Path(tempfile.gettempdir()), FOLDER))
        """Where the files are."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="mmkit-images")
        self._numbers = itertools.count()

    def close(self) -> None:
        """Wait for the threads, and remove all files."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._open.close()

    async def in_thread(self, call: Callable[[], T]) -> T:
        """The result of a call that takes long, made by one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def keep(self, images: Iterable[Given], where: str) -> tuple[Upload, ...]:
        """The images as files. Raises `ImageError` for one that is too large, or that cannot be decoded."""
        kept: list[Upload] = []
        try:
            for given in images:
                upload = Upload(self.folder / str(next(self._numbers)), given.name)
                kept.append(upload)
                await self.in_thread(partial(self._write, given, upload, where))
        except BaseException:
            self.drop(kept)
            raise
        return tuple(kept)

    def drop(self, uploads: Iterable[Upload]) -> None:
        """Remove files."""
        for upload in uploads:
            upload.path.unlink(missing_ok=True)

    def _write(self, given: Given, upload: Upload, where: str) -> None:
        upload.path.write_bytes(given.content)
        try:
            with opened(str(upload.path)) as picture:
                width, height = picture.size
                if width * height > self.max_pixels:
                    raise ImageError(
                        f"the image has {width * height / MEGA:,.1f} megapixels, and this server takes "
                        f"{self.max_pixels / MEGA:g}",
                        hint="scale it down",
                        code="serve.too-many-pixels",
                    )
                try:
                    upright_rgb(picture)
                except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
                    raise broken(given.name, error) from error
        except DataError as error:
            what = error.what.replace(str(upload.path), given.name)
            place = f"{where}: {given.name}"
            raise ImageError(what, where=place, hint=error.hint, code=error.code) from error


def thumbnail(image: Image) -> bytes:
    """An image of the server's own knowledge base as a small JPEG. Raises `ImageError`."""
    picture = open_image(image)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=85)
    return file.getvalue()
