"""A corpus of your own, as JSON lines: one article on each line."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator

from mmkit.data.inside import inside, leads_out
from mmkit.data.json_text import parse_line
from mmkit.data.lines import numbered_lines
from mmkit.data.node import Node
from mmkit.errors import DataError
from mmkit_retrieval.corpora.article import Article, CaptionedImage
from mmkit_retrieval.corpora.corpus import Corpus

_KEYS = ("id", "title", "text", "paragraphs", "links", "images")
_EMPTY_LINES = re.compile(r"\n\s*\n")


class JsonlCorpus(Corpus):
    """Reads lines of the form `{"id", "title", "text" or "paragraphs", "links"?, "images"?}`.

    A `text` is split into paragraphs at empty lines. Each of `images` is `{"path" or "file", "caption"?}` or a path. No
    path may lead out of the folder of images. Unknown keys and missing images are left out and counted.
    """

    def __iter__(self) -> Iterator[Article]:
        self.repairs.clear()
        for number, line in numbered_lines(self.path, repairs=self.repairs, file=self.opened()):
            where = f"{self.path}:{number}"
            if not line.strip():
                self.repairs["empty line skipped"] += 1
                continue
            article = self._article(Node(parse_line(line, where), where))
            if article.paragraphs or article.images:
                yield article
            else:
                self.repairs["article without paragraphs and images skipped"] += 1

    def _article(self, record: Node) -> Article:
        for key in record.object():
            if key not in _KEYS:
                self.repairs[f"unknown key {key!r} left out"] += 1
        pictures = record.list("images", self._picture) if self.images is not None else ()
        return Article(
            id=_filled(record["id"]),
            title=_filled(record["title"]),
            paragraphs=tuple(filter(None, map(_one_line, _paragraphs(record)))),
            links=record["links"].strings() if record.value.get("links") is not None else (),
            images=tuple(p for p in pictures if p is not None),
        )

    def _picture(self, image: Node) -> CaptionedImage | None:
        """The image, or None if its file does not exist, which is counted."""
        if isinstance(image.value, str):
            path, caption = image, ""
        elif not isinstance(image.value, dict):
            image.fail("a path, or an object with a path and a caption")
        else:
            image.fields(("path", "file", "caption"))
            path = image["file"] if "file" in image.value else image["path"]
            caption = _one_line(image.optional("caption", Node.text) or "")
        assert self.images is not None
        whole = inside(self.images, _filled(path))
        if whole is None:
            raise leads_out(
                f"the image {path.value!r} leads out of the folder of images, {self.images}",
                image.where,
                "--images",
                code="retrieval.path-outside",
            )
        if not os.path.isfile(whole):  # noqa: PTH113 - false for impossible names, too
            self.repairs["image that does not exist left out"] += 1
            return None
        return CaptionedImage(whole, caption)


def _paragraphs(record: Node) -> list[str] | tuple[str, ...]:
    text, listed = record.value.get("text"), record.value.get("paragraphs")
    if text is not None and listed is not None:
        raise DataError(
            "the article has both `text` and `paragraphs`",
            where=record.where,
            hint="remove one of them",
            code="retrieval.article-text",
        )
    if listed is not None:
        return record["paragraphs"].strings()
    return _EMPTY_LINES.split(record["text"].text()) if text is not None else []


def _filled(node: Node) -> str:
    return node.text() if node.text().strip() else node.fail("a string that is not empty")


def _one_line(text: str) -> str:
    return " ".join(text.split())
