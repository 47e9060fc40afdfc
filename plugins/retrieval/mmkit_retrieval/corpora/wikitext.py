"""Turns wikitext into plain text, as a reader sees the article, without templates, tables and footnotes.

mwparserfromhell parses the wikitext. This module decides what becomes of each kind of node.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Tag, Template, Text, Wikilink
from mwparserfromhell.wikicode import Wikicode

from mmkit_retrieval.corpora.mediawiki_xml import Site
from mmkit_retrieval.corpora.unclosed import parsed

FILE, CATEGORY = 6, 14

_DROPPED = frozenset(
    (
        *(
            "ref",
            "references",
            "table",
            "math",
            "chem",
            "ce",
            "score",
            "timeline",
            "syntaxhighlight",
            "source",
            "pre",
        ),
        *(
            "graph",
            "mapframe",
            "maplink",
            "imagemap",
            "templatestyles",
            "style",
            "script",
            "hiero",
            "indicator",
        ),
    )
)
_BREAK = "\n\n"
_BREAKS = frozenset(("p", "div", "blockquote", "center", "hr", "ul", "ol", "dl", "poem"))
_QUOTES = re.compile(r"'{2,5}")
_SWITCH = re.compile(r"__[A-Z]+__")
# These patterns search text of strangers: the time of each grows only linearly with the text.
_LEFTOVER = re.compile(r"^[^\S\n]*(\{\||\||!|\}\}).*$", re.MULTILINE)
"""A line of a table that was not closed."""
_HOLLOW = re.compile(r"\s?[(（][,;:·\s]*[)）]")
"""Brackets that contained only a template: `Paris ({{IPA|...}}) is`."""
_OPENING = re.compile(r"([(（])[\s,;]+")
_BEFORE_COMMA = re.compile(r"(?<!\s)\s+(?=[,.;](?:\s|$))")
_EMPTY_LINES = re.compile(r"\n\s*\n")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*")
_PICTURE = re.compile(r".+\.(jpe?g|png|gif|webp|tiff?|bmp)", re.IGNORECASE)
_ANY_FILE = re.compile(r"[^|\[\]{}<>\n]+\.(jpe?g|png|gif|webp|tiff?|bmp)", re.IGNORECASE)
_OPTION = re.compile(
    r"((\d+|\d*x\d+)\s*px|upright.*|(alt|link|page|lang|class|thumb|thumbnail|frame)\s*=.*|thumb|thumbnail|frame|framed|"
    r"frameless|border|left|right|center|centre|none|baseline|sub|super|top|text-top|middle|bottom|text-bottom|"
    # the same options in a few other languages
    r"mini|miniatur|gerahmt|rahmenlos|links|rechts|zentriert|hochkant.*|vignette|gauche|droite|centré|redresse.*|"
    r"miniatura|miniaturadeimagen|miniaturadaimagem|izquierda|derecha|centro|esquerda|direita|destra|sinistra)",
    re.IGNORECASE,
)


@dataclass
class Content:
    """The content of an article: paragraphs, titles of linked articles, and image name → caption."""

    paragraphs: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)


def read_wikitext(text: str, site: Site) -> Content:
    """The content of an article. Raises `mwparserfromhell.parser.ParserError` if it cannot be parsed."""
    content = Content()
    plain = _Reader(site, content).text(parsed(text))
    plain = _LEFTOVER.sub("", _SWITCH.sub("", plain))
    content.paragraphs = [p for p in map(_tidy, _EMPTY_LINES.split(plain)) if p]
    content.links = list(dict.fromkeys(content.links))
    return content


def _tidy(text: str) -> str:
    """One line, without the quotes for bold and italic, and without brackets and commas that templates leave behind."""
    text = " ".join(_QUOTES.sub("", text).split())
    return _BEFORE_COMMA.sub("", _OPENING.sub(r"\1", _HOLLOW.sub("", text)))


class _Reader:
    """Reads the nodes of an article, and collects links and images in `content`.

    Without `content` it reads a caption. Links and images in a caption do not count as those of the article.
    """

    def __init__(self, site: Site, content: Content | None = None) -> None:
        self.site, self.content = site, content
        self._readers: dict[type, Callable[[Any], str]] = {
            Text: lambda node: node.value,
            Wikilink: self._link,
            Tag: self._tag,
            Template: self._template,
            Heading: lambda node: _BREAK,
            HTMLEntity: _character,
            ExternalLink: self._external,
        }

    def text(self, code: Wikicode) -> str:
        """The plain text of nodes. Comments and arguments have none."""
        pieces = []
        for node in code.nodes:
            read = self._readers.get(type(node))
            if read is not None:
                pieces.append(read(node))
        return "".join(pieces)

    def _plain(self, code: Wikicode) -> str:
        """The plain text of a caption."""
        return _tidy(_Reader(self.site).text(code))

    def _link(self, link: Wikilink) -> str:
        target = self.text(link.title).strip()
        prefix, colon, rest = target.partition(":")
        namespace = self.site.namespaces.get(prefix.strip().lower().replace("_", " "), 0) if colon else 0
        if namespace == FILE:
            self._picture(rest, link.text)
            return ""
        if namespace == CATEGORY or (
            colon and prefix and _LANGUAGE.fullmatch(prefix) and link.text is None and rest[:1].strip()
        ):
            return ""
        shown = target.removeprefix(":") if link.text is None else self.text(link.text)
        if not namespace and not target.startswith((":", "#")):
            self._linked(target)
        return shown

    def _linked(self, target: str) -> None:
        title = " ".join(target.partition("#")[0].replace("_", " ").split())
        if title and self.content is not None:
            self.content.links.append(title[0].upper() + title[1:] if self.site.capitals else title)

    def _tag(self, tag: Tag) -> str:
        name = str(tag.tag).strip().lower()
        if name == "gallery":
            self._gallery(str(tag.contents))
            return _BREAK
        if name == "br":
            return " "
        if name in _DROPPED or tag.contents is None:
            return _BREAK if name in _BREAKS or name == "table" else ""
        inner = self.text(tag.contents)
        return f"{_BREAK}{inner}{_BREAK}" if name in _BREAKS else inner

    def _external(self, link: ExternalLink) -> str:
        if link.title is not None:
            return self.text(link.title)
        return "" if link.brackets else str(link.url)

    def _gallery(self, lines: str) -> None:
        """Read the lines of a gallery: `File:Name.jpg|options|caption`."""
        if self.content is None:
            return
        for line in lines.splitlines():
            name, _, options = line.partition("|")
            prefix, colon, rest = name.strip().partition(":")
            known = colon and self.site.namespaces.get(prefix.strip().lower()) == FILE
            self._picture(rest if known else name, parsed(options) if options else None)

    def _template(self, template: Template) -> str:
        """Collect the images of a template, such as an infobox. Its text is left out."""
        if self.content is None:
            return ""
        values = {str(p.name).strip(): p.value for p in template.params}
        captions: dict[str, str] = {}
        for name, value in values.items():
            for node in value.nodes:
                if isinstance(node, Template):
                    self._template(node)
                elif isinstance(node, Wikilink):
                    prefix, _, rest = str(node.title).strip().partition(":")
                    if self.site.namespaces.get(prefix.strip().lower()) == FILE:
                        self._picture(rest, node.text)
            written = str(value).strip()
            if _ANY_FILE.fullmatch(written):
                keys = (name.replace("image", "caption"), f"{name}_caption", "caption")
                key = next((k for k in keys if k in values and k != name), None)
                if key is not None and key not in captions:
                    captions[key] = self._plain(values[key])
                self._add(written.split(":", 1)[-1], captions[key] if key is not None else "")
        return ""

    def _picture(self, name: str, options: Wikicode | None) -> None:
        if self.content is None:
            return
        caption, instead = "", ""
        for part in self._parts(options):
            if part.lower().startswith("alt="):
                instead = part[4:].strip()
            elif not _OPTION.fullmatch(part):
                caption = part
        self._add(name, caption or instead)

    def _parts(self, options: Wikicode | None) -> list[str]:
        """The options of a link to a file, which are separated by `|`. A `|` inside another link does not count."""
        if options is None:
            return []
        reader = _Reader(self.site)
        reader._readers[Text] = lambda node: node.value.replace("|", "\0")
        return [part for part in map(_tidy, reader.text(options).split("\0")) if part]

    def _add(self, name: str, caption: str) -> None:
        name = name.strip()
        if self.content is not None and _PICTURE.fullmatch(name):
            self.content.pictures[name] = self.content.pictures.get(name) or caption


def _character(entity: HTMLEntity) -> str:
    """The character of an entity. As in HTML, U+FFFD stands for a number that is not a character."""
    try:
        character = entity.normalize()
    except (ValueError, OverflowError):  # beyond Unicode
        return "\ufffd"
    return "\ufffd" if "\ud800" <= character <= "\udfff" else character
