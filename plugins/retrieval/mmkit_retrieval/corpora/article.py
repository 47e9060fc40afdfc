"""An article of a corpus: paragraphs and captioned images."""

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
    """One article. `links` are the titles of other articles."""

    id: str
    title: str
    paragraphs: tuple[str, ...]
    links: tuple[str, ...] = ()
    images: tuple[CaptionedImage, ...] = ()

    def digest(self) -> str:
        """A hash of the whole article, without the bytes of its images."""
        text = json.dumps(astuple(self), ensure_ascii=False)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
