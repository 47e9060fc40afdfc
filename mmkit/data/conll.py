"""`mmkit.conll_images.v1`: tweets in CoNLL columns under `IMGID:` lines (Twitter-2015, Twitter-2017)."""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from mmkit.data.crops import CropTable, crop_table_files, post_images, under
from mmkit.data.image_paths import Photos
from mmkit.data.lines import numbered_lines
from mmkit.data.reader import Reader
from mmkit.data.types import ORPHANS, Example, Image, Span
from mmkit.errors import DataError

Tag = tuple[str, str]
"""Prefix ("B", "I" or "O"; of BIOES also "E" and "S") and label."""

OUTSIDE: Tag = ("O", "")


@dataclass
class Sentence:
    """The lines up to the next empty or `IMGID:` line; its tokens stand on consecutive ones."""

    line: int
    post: str | None = None
    tokens: list[str] = field(default_factory=list)
    tags: list[Tag] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def line_of(self, token: int) -> int:
        """The number of the line a token stands on."""
        return self.line + token + (self.post is not None)


class ConllImagesReader(Reader):
    """Reads sentences of `token TAB tag` lines, each headed by `IMGID:<name>` and ended by an empty line.

    A post's photo is the file `<name>` in `<root>/<images>`, whatever its ending (`.jpg` where several exist is not
    guessed: see `mmkit.data.image_paths.Photos`); `images = None` reads text alone. `crops` is a table of
    object crops (see `CropTable`) whose files lie in `crop_images`; all these paths are relative to `root`.
    `missing_crops = "none"` counts a table that does not exist instead of stopping.
    `rename` maps labels of the file to others, for example `{"OTHER": "MISC"}`.

    Tags are read as conlleval does: an `I-` that continues nothing opens a span. `orphan_tags` says what
    becomes of such a span: "open" keeps it and lists it in `notes[ORPHANS]`, so that strict scoring can drop
    it; "drop" reads it as outside; "error" stops.

    Readers of files that hold more beside the sentence extend `sentences` and `tag_table`.
    """

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
        blank_images: bool = False,
    ) -> None:
        super().__init__(root, file, blank_images)
        self.images, self.crops, self.crop_images, self.max_crops = images, crops, crop_images, max_crops
        self.missing_crops = missing_crops
        self.rename, self.orphan_tags = dict(rename or {}), orphan_tags

    def files(self) -> list[Path]:
        return [self.path, *crop_table_files(self)]

    def __iter__(self) -> Iterator[Example]:
        self.repairs.clear()
        crops = CropTable.of_reader(self)
        photos = Photos(under(self.root, self.images or ""), self.repairs)
        seen: Counter[str] = Counter()
        for index, sentence in enumerate(self.sentences()):
            yield self._example(sentence, index, crops, photos, seen)

    def tag_table(self) -> TagTable:
        """The tags that the file may hold."""
        return TagTable(self.rename)

    def sentences(self) -> Iterator[Sentence]:
        """The sentences that have tokens."""
        lines = numbered_lines(self.path, self.source, self.repairs)
        tags = self.tag_table()
        sentence = Sentence(line=1)
        for number, line in lines:
            token, tab, tag = line.partition("\t")
            if tab and tag in tags:  # the common case first
                sentence.tokens.append(token)
                sentence.tags.append(tags[tag])
            elif line.startswith("IMGID:") and not tab:
                yield from self._closed(sentence, by_blank=False)
                sentence = Sentence(line=number, post=self._post(line, number))
            elif not line.strip(" \t"):
                yield from self._closed(sentence, by_blank=True)
                sentence = Sentence(line=number + 1)
            else:
                where = f"{self.path}:{number}"
                token, tag = _columns(line, where)
                sentence.tokens.append(token)
                sentence.tags.append(tags.parsed(tag, where))
        yield from self._closed(sentence, by_blank=True)

    def _post(self, line: str, number: int) -> str:
        post = line.removeprefix("IMGID:").strip()
        if not post:
            raise DataError("`IMGID:` without a name", where=f"{self.path}:{number}")
        return post

    def _closed(self, sentence: Sentence, by_blank: bool) -> Iterator[Sentence]:
        """The sentence, if it has tokens and a picture where one is wanted."""
        if not sentence.tokens:
            if sentence.post is not None:
                self.repairs["empty sentence skipped"] += 1
            return
        if sentence.post is None and self.images is not None:
            raise DataError(
                "a sentence without an `IMGID:` line before it",
                where=f"{self.path}:{sentence.line}",
                hint="set `images = null` to read a file without pictures",
            )
        if not by_blank:
            self.repairs["sentence not ended by an empty line"] += 1
        yield sentence

    def _example(
        self, sentence: Sentence, index: int, crops: CropTable, photos: Photos, seen: Counter[str]
    ) -> Example:
        spans, orphans = chunks(sentence.tags)
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
            images = post_images(photo, crops.files(*keys, repairs=self.repairs), self.blank_images)
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
            )
        if self.orphan_tags == "drop":
            self.repairs["chunk without B- dropped"] += len(orphans)
            return [s for s in spans if s not in orphans]
        self.repairs["chunk without B- kept"] += len(orphans)
        return spans

    def _id(self, sentence: Sentence, seen: Counter[str]) -> str:
        """The post's name; with `#2`, `#3`, ... where a post comes again."""
        post = sentence.post or f"{self.path.stem}:{sentence.line}"
        seen[post] += 1
        if seen[post] == 1:
            return post
        self.repairs["post that occurs again given an id of its own"] += 1
        return f"{post}#{seen[post]}"

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.mner import conll_sample

        return conll_sample(folder, seed)


def chunks(tags: Sequence[Tag]) -> tuple[list[Span], list[Span]]:
    """Spans as conlleval reads them, and those among them that an `I-` or `E-` opened.

    A span ends after E- and S-, and before O, B-, S- and an `I-` or `E-` of another label, which opens the next.
    """
    spans: list[Span] = []
    orphans: list[int] = []  # their places among the spans
    start, opener = 0, OUTSIDE
    for i, tag in enumerate((*tags, OUTSIDE)):
        if tag is opener and tag is OUTSIDE:  # the common case first
            continue
        prefix, label = tag
        if label != opener[1] or prefix in "BS":
            if opener is not OUTSIDE:
                spans.append(Span(start, i, opener[1]))
            start, opener = i, (OUTSIDE if prefix == "O" else tag)
            if prefix in "IE":
                orphans.append(len(spans))
        if prefix in "ES" and opener is not OUTSIDE:
            spans.append(Span(start, i + 1, opener[1]))
            opener = OUTSIDE
    return spans, [spans[i] for i in orphans]


class TagTable(dict[str, Tag]):
    """Tag as written → tag, filled as new ones are met; `prefixes` are those of a span's tags."""

    def __init__(self, rename: Mapping[str, str], prefixes: Sequence[str] = ("B", "I")) -> None:
        super().__init__({"O": OUTSIDE})
        self.rename, self.prefixes = rename, prefixes

    def parsed(self, tag: str, where: str) -> Tag:
        """The tag as written on a line that is not in the table yet. Raises `DataError` if it is none."""
        if tag not in self:
            prefix, _, label = tag.partition("-")
            if prefix not in self.prefixes or label.split() != [label]:
                *others, last = (f"{known}-TYPE" for known in self.prefixes)
                hint = f"tags are O, {', '.join(others)} and {last}"
                raise DataError(f"unknown tag {tag!r}", where=where, hint=hint)
            self[tag] = (prefix, self.rename.get(label, label))
        return self[tag]


def _columns(line: str, where: str) -> tuple[str, str]:
    """Token and tag of a line, between which stands a tab or, failing that, white space."""
    columns = line.split("\t") if "\t" in line else line.split()
    if len(columns) != 2 or not columns[1]:
        what = (
            "a line without a tag"
            if len(columns) < 2 or not columns[1]
            else f"a line of {len(columns)} columns"
        )
        raise DataError(f"{what}: {line[:60]!r}", where=where, hint="each line is a token, a tab and its tag")
    return columns[0], columns[1]
