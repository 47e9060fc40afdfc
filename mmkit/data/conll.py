"""`mmkit.conll_images.v1`: tweets in CoNLL columns under `IMGID:` lines (Twitter-2015, Twitter-2017)."""

from __future__ import annotations

import itertools
import os.path
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from mmkit.data.crops import CropTable, crop_table_files, post_images, under
from mmkit.data.image_paths import Photos
from mmkit.data.lines import numbered_lines
from mmkit.data.problems import Place
from mmkit.data.reader import Guess, Reader
from mmkit.data.tags import OUTSIDE, Tag, TagTable, chunks, looks_like_iob1
from mmkit.data.types import ORPHANS, Example, Image, Span
from mmkit.errors import DataError

SNIFFED = 1000
"""Number of sentences that are read to distinguish IOB1 from BIO."""

POST = "IMGID:"
"""The beginning of a line that names the photo of the next sentence."""

DOCSTART = "-DOCSTART-"
"""The token of a line that begins a document; it is not a word of the document."""


@dataclass
class Sentence:
    """The lines up to the next empty or `IMGID:` line; its tokens are on consecutive lines."""

    line: int
    post: str | None = None
    tokens: list[str] = field(default_factory=list)
    tags: list[Tag] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def line_of(self, token: int) -> int:
        """The number of a token's line."""
        return self.line + token + (self.post is not None)


class ConllImagesReader(Reader):
    """Reads sentences of `token TAB tag` lines, each after a line `IMGID:<name>` and before an empty line.

    A post's photo is the file `<name>` in `<root>/<images>`, with any ending (if several files fit, none is guessed:
    see `mmkit.data.image_paths.Photos`); `images = None` reads text alone. `crops` is a table of object crops (see
    `CropTable`) whose files are in `crop_images`; all these paths are relative to `root`. `missing_crops = "none"`
    counts a table that does not exist instead of stopping. `rename` maps labels of the file to others, for example
    `{"OTHER": "MISC"}`.

    Lines have two columns; in files with more, `tag_column` says which one holds the tag, counted from 0, or from the
    end (-1). Lines of `-DOCSTART-` are skipped.

    Tags may be BIO, IOB1, BIOES, BILOU or BMES. They are read as conlleval does: an `I-` that continues nothing begins
    a span. In an IOB1 file this is how spans are written; in other files `orphan_tags` says how such a span is read:
    "open" keeps it and lists it in `notes[ORPHANS]`, so that strict scoring can drop it; "drop" reads it as outside;
    "error" stops.

    Readers of files that contain more than the sentence extend `sentences` and `tag_table`.
    """

    form: ClassVar[str] = "CoNLL columns: a token, a tab and its tag a line, a sentence up to an empty line"
    kinds: ClassVar[frozenset[str]] = frozenset({"conll"})
    pictures_in: ClassVar[str] = "images"

    source: ClassVar[str] = (
        "Twitter-2015 and Twitter-2017 are linked from https://github.com/jefferyYu/UMT, "
        "and with HVPNeT's object crops from https://github.com/zjunlp/HVPNeT"
    )

    def __init__(
        self,
        root: str,
        file: str,
        *,
        images: str | None = "images",
        crops: str | None = None,
        crop_images: str = "crops",
        max_crops: int = 3,
        missing_crops: Literal["error", "none"] = "error",
        rename: dict[str, str] | None = None,
        orphan_tags: Literal["open", "drop", "error"] = "open",
        tag_column: int | None = None,
        blank_images: bool = False,
    ) -> None:
        super().__init__(root, file, blank_images)
        self.tag_column = tag_column
        self.images, self.crops, self.crop_images, self.max_crops = images, crops, crop_images, max_crops
        self.missing_crops = missing_crops
        self.rename, self.orphan_tags = dict(rename or {}), orphan_tags

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """Columns under `IMGID:` lines; columns alone are also read by readers of CoNLL in general."""
        guess = super().recognize(path, head)
        if guess is None:
            return None
        lines = head.decode("utf-8", "replace").split("\n")[:60]
        named = any(line.startswith(POST) for line in lines)
        wide = any(len(line.split()) > 2 for line in lines if not line.startswith(POST))
        settings = ({} if named else {"images": None}) | ({"tag_column": -1} if wide else {})
        return Guess(guess.what, settings, sure=named)

    def files(self) -> list[Path]:
        return [self.path, *crop_table_files(self)]

    def __iter__(self) -> Iterator[Example]:
        self.repairs.clear()
        crops = CropTable.of_reader(self)
        photos = Photos(under(self.root, self.images or ""), self.repairs)
        seen: Counter[str] = Counter()
        iob1 = self._is_iob1()
        posts = named = 0
        for index, sentence in enumerate(self.sentences()):
            try:
                example = self._example(sentence, index, crops, photos, seen, iob1)
            except DataError as error:
                self.refuse(error)
                continue
            posts, named = posts + 1, named + (len(example.images) > 1)
            self.place = Place(f"{self.path}:{sentence.line}", sentence.line_of(0))
            yield example
        crops.count_unused(posts, named, self.repairs)

    def _is_iob1(self) -> bool:
        """Whether the file's first sentences are tagged in IOB1; if so, it is noted in `repairs`."""
        before, errors = self.repairs.copy(), self.errors
        self.errors = None if errors is None else []
        first = itertools.islice(self.sentences(), SNIFFED)
        found = looks_like_iob1(sentence.tags for sentence in first)
        self.errors = errors
        self.repairs.clear()
        self.repairs.update(before)
        if found:
            self.repairs["file read as IOB1, in which an I- tag begins a span"] += 1
        return found

    def tag_table(self) -> TagTable:
        """The tags that the file may contain."""
        return TagTable(self.rename)

    def sentences(self) -> Iterator[Sentence]:
        """The sentences that have tokens."""
        unended: list[int] = []
        lines = numbered_lines(self.path, self.source, self.repairs, unended=unended)
        tags = self.tag_table()
        sentence = Sentence(line=1)
        for number, line in lines:
            token, tab, tag = line.partition("\t")
            if (
                tab and tag in tags and token != DOCSTART and not token.startswith(POST)
            ):  # the common case first
                sentence.tokens.append(token)
                sentence.tags.append(tags[tag])
            elif line.startswith(POST) and not (tab and sentence.tokens):
                yield from self._closed(sentence, by_blank=False)
                sentence = Sentence(line=number, post=self._post(line, number))
            elif not line.strip(" \t"):
                yield from self._closed(sentence, by_blank=True)
                sentence = Sentence(line=number + 1)
            elif line.startswith(DOCSTART) and line.split(maxsplit=1)[0] == DOCSTART:
                self.repairs[f"{DOCSTART} line skipped"] += 1
                yield from self._closed(sentence, by_blank=False)
                sentence = Sentence(line=number + 1)
            else:
                where = f"{self.path}:{number}"
                token, parsed = line, OUTSIDE
                try:
                    token, tag = self._columns(line, where)
                    parsed = tags.parsed(tag, where, at_end=bool(unended) and line.endswith(tag))
                except DataError as error:
                    self.refuse(error)  # the token stays, so that later ones keep their lines
                sentence.tokens.append(token)
                sentence.tags.append(parsed)
        yield from self._closed(sentence, by_blank=True)

    def _columns(self, line: str, where: str) -> tuple[str, str]:
        """Token and tag of a line; columns are separated by tabs or, if there is no tab, by white space."""
        parts = line.split("\t") if "\t" in line else line.split() or [line]
        columns = [parts[0], *(part.strip() for part in parts[1:] if part.strip())]
        if parts[1:] != columns[1:] and len(columns) > 1:
            self.repairs["line with blanks or tabs beside its columns"] += 1
        if len(columns) < 2:
            raise DataError(
                f"a line without a tag: {line[:60]!r}", where=where, hint=_hint_of(line), code="conll.columns"
            )
        if self.tag_column is None and len(columns) > 2:
            raise DataError(
                f"a line of {len(columns)} columns: {line[:60]!r}",
                where=where,
                hint=_hint_of(line)
                + "; or say which column holds the tag: tag_column = -1 (the last), for example",
                code="conll.columns",
            )
        at = 1 if self.tag_column is None else self.tag_column
        if not -len(columns) <= at < len(columns):
            raise DataError(
                f"there is no column {at}; this line has {len(columns)}: {line[:60]!r}",
                where=where,
                hint="columns count from 0, or from -1 at the end: set `tag_column`",
                code="conll.columns",
            )
        return columns[0], columns[at]

    def _post(self, line: str, number: int) -> str:
        post, tab, _ = line.removeprefix(POST).strip().partition("\t")
        if tab:
            self.repairs[f"{POST} line with a tag"] += 1
        if not post:
            where = f"{self.path}:{number}"
            self.refuse(DataError("`IMGID:` without a name", where=where, code="conll.no-image-name"))
        return post or "?"

    def _closed(self, sentence: Sentence, by_blank: bool) -> Iterator[Sentence]:
        """The sentence, if it has tokens and, if images are read, an image."""
        if not sentence.tokens:
            if sentence.post is not None:
                self.repairs["empty sentence skipped"] += 1
            return
        if sentence.post is None and self.images is not None:
            self.refuse(
                DataError(
                    "a sentence without an `IMGID:` line before it",
                    where=f"{self.path}:{sentence.line}",
                    hint="set `images = null` to read a file without images",
                    code="conll.no-image-line",
                )
            )
        if not by_blank:
            self.repairs["sentence not ended by an empty line"] += 1
        yield sentence

    def _example(
        self, sentence: Sentence, index: int, crops: CropTable, photos: Photos, seen: Counter[str], iob1: bool
    ) -> Example:
        spans, orphans = chunks(sentence.tags)
        orphans = [] if iob1 else orphans
        if orphans:
            spans = self._mended(spans, orphans, sentence)
        if "" in sentence.tokens:
            self.repairs["token without characters"] += sentence.tokens.count("")
        images: tuple[Image, ...] = ()
        if sentence.post is not None and self.images is not None:
            where = f"{self.path}:{sentence.line}"
            photo = photos.path(sentence.post, where)
            name = os.path.basename(photo)  # noqa: PTH119
            keys = (f"{sentence.post}.jpg", sentence.post, name, f"{name.rpartition('.')[0]}.jpg", index)
            images = post_images(photo, crops.files(*keys), self.blank_images)
        notes = sentence.notes
        if orphans and self.orphan_tags == "open":
            notes[ORPHANS] = [[s.start, s.end] for s in orphans]
        return Example.from_tokens(
            self._id(sentence, seen), sentence.tokens, images=images, spans=tuple(spans), notes=notes
        )

    def _mended(self, spans: list[Span], orphans: list[Span], sentence: Sentence) -> list[Span]:
        if self.orphan_tags == "error":
            first = orphans[0]
            prefix, label = sentence.tags[first.start]
            raise DataError(
                f"`{prefix}-{label}` without a `B-{label}` before it",
                where=f"{self.path}:{sentence.line_of(first.start)}",
                hint='orphan_tags = "open" or "drop" reads such tags',
                code="conll.orphan-tag",
            )
        if self.orphan_tags == "drop":
            self.repairs["chunk without B- dropped"] += len(orphans)
            return [s for s in spans if s not in orphans]
        self.repairs["chunk without B- kept"] += len(orphans)
        return spans

    def _id(self, sentence: Sentence, seen: Counter[str]) -> str:
        """The post's name; with `#2`, `#3`, ... if a post occurs again."""
        post = sentence.post or f"{self.path.stem}:{sentence.line}"
        seen[post] += 1
        if seen[post] == 1:
            return post
        self.repairs["repeated post given its own id"] += 1
        return f"{post}#{seen[post]}"

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.mner import conll_sample

        return conll_sample(folder, seed)


def _hint_of(line: str) -> str:
    """What to do about a line without a tag."""
    if "\r" in line:
        return "the lines end with a carriage return alone, as on old Macs: write them with \\n"
    if line.lstrip().startswith(("{", "[")):
        return "this looks like JSON: is it a file for mmkit.jsonl.v1, or MNRE's (mmkit.mnre.v1)?"
    return "each line is a token, a tab and its tag"
