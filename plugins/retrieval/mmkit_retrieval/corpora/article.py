"""Articles with paragraphs and captioned images, read one at a time and in a fixed order."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image of an article: a file, and its caption in the article."""

    path: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Article:
    """A record of a corpus; `links` are titles of other articles."""

    id: str
    title: str
    paragraphs: tuple[str, ...]
    links: tuple[str, ...] = ()
    images: tuple[CaptionedImage, ...] = ()

    def digest(self) -> str:
        """A hash of everything in it, except the images' bytes."""
        text = json.dumps(astuple(self), ensure_ascii=False)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
