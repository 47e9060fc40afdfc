"""`mmkit.wikidiverse.v1`: news captions with mentions of Wikipedia articles (WikiDiverse)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import unquote

from mmkit.data.crops import under
from mmkit.data.image_paths import NO_NAME, Photos
from mmkit.data.json_text import read_json
from mmkit.data.mel import AUTHORS, Listed, MelReader, Sentence
from mmkit.data.problems import Place
from mmkit.data.records import Node
from mmkit.data.types import Example, Image
from mmkit.errors import DataError

NOTE = "mmkit.wikidiverse"
"""Note key: `{"type": ..., "topic": ...}` of a mention, if the record contains them."""

_EXTENSION = re.compile(r".*(\.(?:jpe?g|JPE?G|png|PNG|svg|SVG|gif|GIF))", re.DOTALL)
_REDRAWN = {".svg": ".png", ".SVG": ".png", ".gif": ".png", ".GIF": ".png"}
"""Formats that are PNG in the published image folders."""


@dataclass(frozen=True)
class _Link:
    """One mention: its words, position in the sentence, entity ("" for none) and candidates, as in the record."""

    text: str
    entity: str
    bounds: tuple[int, int] | None = None
    type: str = ""
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Caption:
    sentence: str
    picture: str | None
    topic: str = ""
    links: list[_Link] = field(default_factory=list)


class WikidiverseReader(MelReader):
    """Reads a JSON list of captions, in any of the three forms in which they are published.

    - the dataset's own: `[sentence, picture url, topic, [[mention, type, start, end, wikipedia url], ...]]`
    - with candidates: `[sentence, picture url, mention, type, left, right, wikipedia url, [url, ...], topic, start,
      end]`
    - DWE's: `{"sentence", "mention", "mention_type", "mention_image", "entity"}`

    `start` and `end` count characters. An entity's id is its article's title, with spaces for `_`, and with
    `hyphens = "space"` also for `-`, as in the keys of DWE's files. Mentions without an article are skipped and
    counted. An image's file is named by the MD5 hash of its url: of the url's last part in the dataset's own archive
    (`image_names = "file"`), of the whole url in DWE's (`"url"`). The id is the file's name and the record's number
    from 0. Candidate files list, for each gold entity, the other candidates.
    """

    form: ClassVar[str] = "a JSON list of captions, as WikiDiverse publishes it"
    kinds: ClassVar[frozenset[str]] = frozenset({"wikidiverse"})

    source: ClassVar[str] = (
        "WikiDiverse is published at https://github.com/wangxw5/wikiDiverse, "
        f"and as DWE's authors convert it at {AUTHORS}"
    )
    listed_by: ClassVar[Listed] = "entity"

    def __init__(
        self,
        root: str,
        file: str,
        *,
        images: str | None = "images",
        image_names: Literal["file", "url"] = "file",
        hyphens: Literal["keep", "space"] = "keep",
        candidates: str | None = None,
        missing_candidates: Literal["error", "none"] = "error",
        max_candidates: int | None = None,
        blank_images: bool = False,
    ) -> None:
        super().__init__(
            root,
            file,
            images=images,
            candidates=candidates,
            missing_candidates=missing_candidates,
            max_candidates=max_candidates,
            blank_images=blank_images,
        )
        self.image_names, self.hyphens = image_names, hyphens

    def _examples(self) -> Iterator[Example]:
        value = Node(read_json(self.path, self.source, self.repairs), str(self.path), "file")
        for number, item in enumerate(value.items()):
            node = Node(item.value, f"{self.path}, record {number}")
            self.place = Place(node.where)
            try:
                found = list(self._of_caption(f"{self.path.stem}:{number}", self._caption(node)))
            except DataError as error:
                self.refuse(error)
                continue
            yield from found

    def _of_caption(self, id: str, caption: _Caption) -> Iterator[Example]:
        sentence = Sentence(caption.sentence, self.repairs)
        images: tuple[Image, ...] = ()
        if self.images is not None:
            photos = Photos(under(self.root, self.images), self.repairs, "")
            photo = photos.named(caption.picture or "", id)
            images = () if photo is None else (Image(photo),)
        for i, link in enumerate(caption.links):
            if not link.entity or not link.text:
                missing = "article" if link.text else "text"
                self.repairs[f"mention without {missing}, skipped"] += 1
                continue
            told = {"type": link.type, "topic": caption.topic}
            told = {key: value for key, value in told.items() if value}
            yield Example(
                id if len(caption.links) == 1 else f"{id}:{i}",
                sentence.text,
                sentence.tokens,
                sentence.offsets,
                images=images,
                mention=sentence.mention(link.text, link.bounds),
                entity=link.entity,
                candidates=link.candidates[: self.max_candidates],
                notes={NOTE: told} if told else {},
            )

    def _caption(self, node: Node) -> _Caption:
        """A record of any form."""
        if isinstance(node.value, dict):
            return self._converted(node)
        fields = [Node(item.value, node.where, f"[{i}]") for i, item in enumerate(node.items())]
        if len(fields) == 4:
            sentence, url, topic, mentions = fields
            links = [self._published(mention) for mention in mentions.items()]
            return _Caption(sentence.text(), self._picture(url), topic.text(), links)
        if len(fields) == 11:
            sentence, url, mention, type, _, _, article, listed, topic, start, end = fields
            others = tuple(dict.fromkeys(filter(None, (self._title(n.text()) for n in listed.items()))))
            bounds = (start.count(), end.count())
            link = _Link(mention.text(), self._article(article), bounds, type.text(), others)
            return _Caption(sentence.text(), self._picture(url), topic.text(), [link])
        raise DataError(
            f"a record of {len(fields)} fields",
            where=node.where,
            hint="published are 4 and 11, or named fields",
            code="wikidiverse.fields",
        )

    def _published(self, node: Node) -> _Link:
        fields = list(node.items())
        if len(fields) != 5:
            node.fail("[mention, type, start, end, url]")
        text, type, start, end, article = fields
        return _Link(text.text(), self._article(article), (start.count(), end.count()), type.text())

    def _converted(self, node: Node) -> _Caption:
        """A record in the form of DWE's authors; their `cands` are pairs of a title and its images."""
        start, end = (node.optional(key, Node.count) for key in ("start", "end"))
        listed = node.list("cands", _first) if node.value.get("cands") is not None else ()
        link = _Link(
            node["mention"].text(),
            node.optional("entity", Node.text) or "",
            None if start is None or end is None else (start, end),
            node.optional("mention_type", Node.text) or "",
            tuple(dict.fromkeys(listed)),
        )
        picture = node.optional("mention_image", Node.text)
        return _Caption(node["sentence"].text(), picture, node.optional("topic", Node.text) or "", [link])

    def _article(self, node: Node) -> str:
        return "" if node.value is None else self._title(node.text())

    def _title(self, url: str) -> str:
        """The title of a Wikipedia article, or "" for something that is not the address of an article ("nil")."""
        title = url.strip().partition("/wiki/")[2].replace("_", " ")
        return unquote(title.replace("-", " ") if self.hyphens == "space" else title).strip()

    def _picture(self, node: Node) -> str | None:
        if node.value is None:
            return None
        name = node.text().strip().rpartition("/")[2]
        if not name or name.lower() in NO_NAME:  # its hash would name a photo that nobody has
            return None
        return picture_file(node.text(), self.image_names)

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.mel import wikidiverse_sample

        return wikidiverse_sample(folder, seed)


def picture_file(url: str, named: Literal["file", "url"]) -> str:
    """The file name of the image of a url: an MD5 hash, of the last part or of the whole url, and its format.

    An SVG is stored as PNG; so is a GIF in DWE's folder. If the authors' scripts do not know the format, the url's
    whole last part follows the hash.
    """
    last = url.rsplit("/", 1)[-1]
    hashed = md5((last if named == "file" else url).encode("utf-8", "surrogatepass")).hexdigest()
    known = _EXTENSION.match(last)
    extension = known[1] if known else last
    if named == "file" and extension.lower() == ".gif":  # that archive's script does not know it
        return hashed + last
    return hashed + _REDRAWN.get(extension, extension)


def _first(node: Node) -> str:
    """The title of a candidate: the first item of a pair, or itself."""
    items = [node] if isinstance(node.value, str) else list(node.items())
    return items[0].text() if items else node.fail("[title, images]")
