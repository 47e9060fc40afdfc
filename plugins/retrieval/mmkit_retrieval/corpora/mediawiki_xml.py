"""Reads MediaWiki's XML export page by page (https://www.mediawiki.org/wiki/Help:Export).

Memory does not grow with the file, whatever it contains. Everything that is kept has a limit, far above what MediaWiki
writes. MediaWiki's exports have no document type. A file that has one is refused, so that no entities are expanded and
no other files are read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from mmkit.errors import DataError

LONGEST = 8_000_000
"""The longest page in characters. MediaWiki itself refuses more than two million bytes."""

_ENDLESS = 10 * LONGEST
"""The longest element in characters. A longer one ends the reading."""
_NAME = 1000
"""The longest title, id or name of a namespace in characters. MediaWiki allows 255 bytes."""
_TAG = 1 << 20
"""The longest tag (with its attributes) or comment in bytes."""
_DEEP = 64
"""The deepest nesting of elements. An export has five levels."""
_NAMESPACES = 1000
"""The most namespaces of a wiki. Large wikis have a hundred."""
_CHUNK = 1 << 17
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_CANONICAL = {"file": 6, "image": 6, "category": 14}
"""The namespaces that wikis of every language know."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a dump says about its wiki: namespaces by lower-case name, and whether titles begin with a capital."""

    namespaces: dict[str, int] = field(default_factory=lambda: dict(_CANONICAL))
    capitals: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """An article in wikitext."""

    id: str
    title: str
    wikitext: str


class Dump:
    """Reads the articles of an export. `site` is complete before the first article.

    Redirects, pages of other namespaces, and pages that are not wikitext are skipped and counted in `repairs`.
    Raises `DataError` with file and line if the XML is broken or truncated, has a document type, or is not an export.
    The same holds for what no export contains: very large tags and elements, deep nesting, thousands of namespaces.
    """

    def __init__(self, path: Path, repairs: Counter[str]) -> None:
        self.path, self.repairs = path, repairs
        self.site = Site()
        self._elements: list[str] = []
        self._text: list[str] = []
        self._wanted = False
        self._namespace = 0
        self._fields: dict[str, str] = {}
        self._length = self._fed = 0
        self._done: list[Page] = []
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype

    def pages(self, file: BinaryIO) -> Iterator[Page]:
        """The articles of the file. It is closed at the end."""
        with file:
            ended = False
            while not ended:
                try:
                    data = file.read(_CHUNK)
                    ended = not data
                    self._parser.Parse(data, ended)
                    self._check_tag(len(data))
                except expat.ExpatError as error:
                    raise self._error(error, ended) from None
                except OSError as error:
                    raise DataError(
                        f"the corpus cannot be read: {error}",
                        where=self.path,
                        code="retrieval.corpus-unreadable",
                    ) from error
                yield from self._done
                self._done.clear()

    def _error(self, error: expat.ExpatError, ended: bool) -> DataError:
        if ended:
            return DataError(
                "the dump is truncated",
                where=self._where(),
                hint="download the file again",
                code="retrieval.dump-cut-off",
            )
        return DataError(
            f"not XML: {expat.ErrorString(error.code)}", where=self._where(), code="retrieval.xml-syntax"
        )

    def _check_tag(self, size: int) -> None:
        """Raise `DataError` for a too long tag, which the parser keeps in memory. `size` bytes were parsed last."""
        self._fed += size
        if self._fed - self._parser.CurrentByteIndex > _TAG:
            raise self._absurd(f"a tag or a comment of more than {_TAG:,} bytes")

    def _absurd(self, what: str) -> DataError:
        hint = "no wiki writes such a dump: download the file again"
        return DataError(what, where=self._where(), hint=hint, code="retrieval.absurd-dump")

    def _where(self) -> str:
        return f"{self.path}:{self._parser.CurrentLineNumber}"

    def _doctype(self, *_: object) -> None:
        hint = "dumps from dumps.wikimedia.org have none: download the file again"
        raise DataError(
            "the XML has a document type, which is not allowed",
            where=self._where(),
            hint=hint,
            code="retrieval.xml-doctype",
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._elements and name != "mediawiki":
            raise DataError(
                f"this XML is not a MediaWiki export: it begins with <{name}>",
                where=self._where(),
                code="retrieval.not-mediawiki",
            )
        parent = self._elements[-1] if self._elements else ""
        self._elements.append(name)
        if len(self._elements) > _DEEP:
            raise self._absurd(f"elements are nested more than {_DEEP} deep")
        self._text.clear()
        self._length = 0
        self._wanted = (parent, name) in _HANDLED
        if name == "page":
            self._fields = {}
        elif name == "redirect":
            self._fields[name] = "yes"
        elif name == "namespace":
            self._namespace = self._key(attributes.get("key", "0"))

    def _key(self, written: str) -> int:
        """The number of a namespace, which may be negative."""
        if not _NUMBER.fullmatch(written):
            what = f"the key of a namespace must be a number, not {written[:20]!r}"
            raise DataError(what, where=self._where(), code="retrieval.namespace")
        return int(written)

    def _characters(self, text: str) -> None:
        self._length += len(text)
        if self._length > _ENDLESS:
            raise self._absurd(f"an element of more than {_ENDLESS:,} characters")
        if self._wanted:
            name = self._elements[-1]
            if name != "text" and self._length > _NAME:
                raise self._absurd(f"<{name}> with more than {_NAME:,} characters")
            if self._length <= LONGEST:
                self._text.append(text)

    def _end(self, name: str) -> None:
        self._elements.pop()
        if self._wanted:
            text, self._wanted = "".join(self._text), False
            if name == "case":
                self.site = Site(self.site.namespaces, text == "first-letter")
            elif name == "namespace":
                self.site.namespaces[text.lower()] = self._namespace
                if len(self.site.namespaces) > _NAMESPACES:
                    raise self._absurd(f"more than {_NAMESPACES:,} namespaces")
            else:
                self._fields[name] = text
                if self._length > LONGEST:
                    self._fields["too long"] = "yes"
        elif name == "page":
            self._page()

    def _page(self) -> None:
        found = self._fields
        if found.get("ns", "0") != "0":
            self.repairs["page that is not an article skipped"] += 1
        elif "redirect" in found:
            self.repairs["redirect skipped"] += 1
        elif found.get("model", "wikitext") != "wikitext" or "too long" in found:
            self.repairs["article that is not wikitext, or far too long, skipped"] += 1
        elif not found.get("id") or not found.get("title"):
            raise DataError(
                "a page without <id> or <title>", where=self._where(), code="retrieval.page-without-id"
            )
        else:
            self._done.append(Page(found["id"], found["title"], found.get("text", "")))


_HANDLED = {
    ("siteinfo", "case"),
    ("namespaces", "namespace"),
    ("page", "title"),
    ("page", "ns"),
    ("page", "id"),
    ("revision", "model"),
    ("revision", "text"),
}
"""(parent, element): the elements whose text is kept."""
