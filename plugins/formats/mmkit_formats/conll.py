"""`formats.conll.v1`: columns of tokens and tags, as CoNLL-2003, CoNLL-U and many others have them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mmkit import Entity, Example, Image, Reader, Span
from mmkit.data.conll import DOCSTART, POST
from mmkit.data.crops import blanked, under
from mmkit.data.image_paths import Photos
from mmkit.data.lines import numbered_lines
from mmkit.data.reader import Guess
from mmkit.data.tags import TAG, Tag, TagTable, begin_with_tags, chunks, looks_like_iob1
from mmkit.data.types import ORPHANS
from mmkit.data.writer import Writer, only_examples
from mmkit.errors import DataError
from mmkit.files import atomic
from mmkit_formats.drafts import count_rest, note_of
from mmkit_formats.media import plain_photos
from mmkit_formats.messages import not_this_format, shown, wrong

NOTE = "formats.conll"
Scheme = Literal["BIO", "IOB1", "BIOES", "BILOU", "BMES"]
Separator = Literal["auto", "tab", "space"]
SCHEMES = ("BIO", "IOB1", "BIOES", "BILOU", "BMES")
_LETTERS = {  # beginning, inside, end and single of a span
    "BIO": "BIIB",
    "IOB1": "BIIB",
    "BIOES": "BIES",
    "BILOU": "BILU",
    "BMES": "BMES",
}
_SNIFFED = 1000


@dataclass(slots=True)
class _Sentence:
    line: int
    rows: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    unended: str = ""
    """The cell with which the file ends, if no line end follows."""


def _is_tag_first(head: bytes) -> bool:
    """Whether the first column of the first lines holds the tags."""
    rows = [line.split() for line in head.decode("utf-8", "replace").split("\n")[:60]]
    return begin_with_tags([row for row in rows if row and row[0] not in (DOCSTART, "#")])


class ConllReader(Reader):
    """Reads columns: one token a line, and an empty line after each sentence.

    `token_column` and `tag_column` count from 0, or from the end: -1 is the last. `separator` is "tab", "space" (any
    white space) or "auto": tabs if a line has some. Tags may be BIO, IOB1, BIOES, BILOU or BMES; `_` or `-` alone
    means outside. With `tag_column = null`, only the tokens are read. `rename` maps labels of the file to others.

    Lines that begin with `comment` and a space are comments; `# sent_id = ...` is the sentence's id, and the
    `IMGID:` lines of Twitter-2015 name an image in the folder `images`. Comments, other columns and `-DOCSTART-` lines
    are kept in the note `formats.conll`. Multiword tokens and empty nodes of CoNLL-U (`1-2`, `1.1`) are comments too.
    """

    form = "columns: a token and its tag a line"
    kinds = frozenset({"conll", "conll-tag-first"})
    pictures_in = "images"
    symptoms = frozenset({"formats.other-format", "formats.columns"})

    def __init__(
        self,
        root: str,
        file: str,
        blank_images: bool = False,
        *,
        token_column: int = 0,
        tag_column: int | None = -1,
        separator: Separator = "auto",
        comment: str = "#",
        images: str | None = None,
        rename: dict[str, str] | None = None,
    ) -> None:
        super().__init__(root, file, blank_images)
        self.token_column, self.tag_column, self.separator = token_column, tag_column, separator
        self.comment, self.images, self.rename = comment, images, dict(rename or {})

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """Columns; those under `IMGID:` lines are Twitter-2015's, which the core reads."""
        guess = super().recognize(path, head)
        if guess is not None and _is_tag_first(head):
            guess = replace(guess, settings={"token_column": 1, "tag_column": 0})
        return guess if guess is not None and f"\n{POST}".encode() not in b"\n" + head else None

    def __iter__(self) -> Iterator[Example]:
        self.repairs.clear()
        scheme = self._scheme()
        tags = TagTable(self.rename)
        tags.update({"_": ("O", ""), "-": ("O", "")})
        seen: set[str] = set()
        for sentence in self._sentences(self.repairs):
            example = self._example(sentence, tags, scheme)
            if example.id in seen:
                raise DataError(
                    f"the id {example.id!r} occurs twice",
                    where=f"{self.path}:{sentence.line}",
                    code="data.duplicate-id",
                )
            seen.add(example.id)
            yield blanked(example) if self.blank_images else example

    def _scheme(self) -> Scheme:
        """The scheme of the file, by the tags of its first sentences."""
        if self.tag_column is None:
            return "BIO"
        tags = TagTable({})
        tags.update({"_": ("O", ""), "-": ("O", "")})
        letters: set[str] = set()
        told: list[list[Tag]] = []
        for sentence in itertools.islice(self._sentences(None), _SNIFFED):
            cells = [self._cell(row, self.tag_column, sentence, i) for i, row in enumerate(sentence.rows)]
            letters |= {cell[0] for cell in cells if cell[1:2] == "-"}
            try:
                told.append(
                    [tags.parsed(c, f"{self.path}:{n}") for c, n in zip(cells, sentence.lines, strict=True)]
                )
            except DataError as error:
                raise self._in_another_column(error, sentence) from error
        for scheme, own in (("BILOU", "LU"), ("BMES", "M"), ("BIOES", "ES")):
            if letters & set(own):
                return scheme  # type: ignore[return-value]
        if looks_like_iob1(told):
            self.repairs["file read as IOB1, in which an I- tag begins a span"] += 1
            return "IOB1"
        return "BIO"

    def _in_another_column(self, error: DataError, sentence: _Sentence) -> DataError:
        """An error about a tag, with the column that holds tags in this sentence, if another one does."""
        for column in range(min(map(len, sentence.rows))):
            cells = [row[column] for row in sentence.rows]
            if all(map(TAG.fullmatch, cells)) and error.code == "conll.unknown-tag":
                more = "" if column != self.token_column else f" and token_column = {int(column == 0)}"
                return error.at(
                    error.where, f"the tags are in another column: set tag_column = {column}{more}"
                )
        return error

    def _sentences(self, repairs: Any) -> Iterator[_Sentence]:
        sentence, before = _Sentence(1), list[str]()
        unended: list[int] = []
        for number, line in numbered_lines(self.path, self.source, repairs, unended=unended):
            if not line.strip(" \t\r"):
                if sentence.rows:
                    yield sentence
                    before = []
                elif sentence.comments:
                    before = [*before, *sentence.comments]
                sentence = _Sentence(number + 1, before=before)
            elif not sentence.rows and (line.startswith((f"{self.comment} ", POST)) or line == self.comment):
                sentence.comments.append(line)
            else:
                row = self._columns(line, number)
                if row[0] == DOCSTART:
                    if sentence.rows:
                        yield sentence
                        before = []
                    before = [*before, *sentence.comments, line]
                    sentence = _Sentence(number + 1, before=before)
                elif self.token_column == 1 and not row[0].isdigit() and row[0][:1].isdigit():  # 1-2, 1.1
                    sentence.comments.append(f"{len(sentence.rows)}\t{line}")
                else:
                    sentence.rows.append(row)
                    sentence.lines.append(number)
                    if unended and line.endswith(row[-1]):
                        sentence.unended = row[-1]
        if sentence.rows:
            yield sentence
        elif repairs is not None and (sentence.before or sentence.comments):
            repairs["comment after the last sentence left out"] += len(sentence.before) + len(
                sentence.comments
            )

    def _columns(self, line: str, number: int) -> list[str]:
        line = line.removesuffix("\r")
        if "\r" in line or "\0" in line:
            cause = "old Mac line ends (CR)" if "\r" in line else "bytes of 0, so this is not a text file"
            raise wrong(
                f"the line has {cause}: {shown(line)}",
                f"{self.path}:{number}",
                "save the file with the line ends of Unix (LF) or Windows (CRLF)",
                code="formats.columns",
            )
        if self.separator == "space" or (self.separator == "auto" and "\t" not in line):
            return line.split()
        return line.split("\t")

    def _cell(self, row: list[str], column: int, sentence: _Sentence, token: int) -> str:
        if not -len(row) <= column < len(row) or (column == -1 and len(row) < 2):
            where = f"{self.path}:{sentence.lines[token]}"
            line = " ".join(row)
            if line.lstrip().startswith(("{", "[", "<")):
                not_this_format(
                    f"this is not a line of columns: {shown(line)}", where, "each line is a token and its tag"
                )
            if column == self.tag_column and len(row) < 2:
                what, hint = f"a line without a tag: {shown(line)}", "each line is a token and its tag"
                raise wrong(
                    what, where, f"{hint}; `separator` says what is between them", code="formats.columns"
                )
            raise wrong(
                f"there is no column {column}; this line has {len(row)}: {shown(line)}",
                where,
                "columns count from 0, or from -1 at the end: set `token_column`, `tag_column` or `separator`",
                code="formats.columns",
            )
        return row[column]

    def _example(self, sentence: _Sentence, tags: TagTable, scheme: Scheme) -> Example:
        tokens = [self._cell(row, self.token_column, sentence, i) for i, row in enumerate(sentence.rows)]
        spans: list[Span] = []
        orphans: list[Span] = []
        notes: dict[str, Any] = {}
        if self.tag_column is not None:
            read = []
            for i, row in enumerate(sentence.rows):
                cell = self._cell(row, self.tag_column, sentence, i)
                if cell not in tags:
                    at_end = i == len(sentence.rows) - 1 and cell == sentence.unended
                    tags.parsed(cell, f"{self.path}:{sentence.lines[i]}", at_end)
                read.append(tags[cell])
            spans, orphans = chunks(read)
        if orphans and scheme != "IOB1":
            self.repairs["chunk without B- kept"] += len(orphans)
            notes[ORPHANS] = [[s.start, s.end] for s in orphans]
        extra: dict[str, Any] = {}
        if any(len(row) > 2 for row in sentence.rows) or self.tag_column is None:
            extra["columns"] = sentence.rows
            extra["at"] = [self.token_column, self.tag_column]
        if scheme != "BIO":
            extra["scheme"] = scheme
        extra |= {k: v for k, v in (("comments", sentence.comments), ("before", sentence.before)) if v}
        if extra:
            notes[NOTE] = extra
        id, images = f"{self.path.stem}:{sentence.line}", list[Image]()
        for line in sentence.comments:
            key, _, value = line.removeprefix(self.comment).partition("=")
            if key.strip() == "sent_id":
                id = value.strip()
            elif line.startswith(POST):
                id = line.removeprefix(POST).strip()
                if self.images is not None:
                    images.append(Image(self._photo(id, f"{self.path}:{sentence.line}")))
        return Example.from_tokens(id, tokens, spans=tuple(spans), images=tuple(images), notes=notes)

    def _photo(self, name: str, where: str) -> str:
        return Photos(under(self.root, self.images or ""), self.repairs).path(name, where)


class ConllWriter(Writer):
    """Writes a token and its tag on each line, in the scheme BIO, IOB1, BIOES, BILOU or BMES.

    Sentences that came from CoNLL columns get their other columns, comments and scheme back, unless `scheme` is given.
    All others have two columns, separated by `separator` ("tab" or "space"), and with `ids` a comment `# sent_id`.
    Spans that overlap cannot be written: that is an error. With `overlapping = "first"`, the one that begins first is
    written (the longest, if several begin there).
    """

    ending = ".conll"

    def __init__(
        self,
        scheme: Scheme | None = None,
        separator: Separator = "tab",
        ids: bool = True,
        overlapping: Literal["error", "first"] = "error",
    ) -> None:
        super().__init__()
        self.scheme, self.ids, self.overlapping = scheme, ids, overlapping
        self.separator = " " if separator == "space" else "\t"

    def write(self, path: Path, records: Iterable[Example | Entity]) -> None:
        self.losses.clear()
        with atomic(path, error=DataError) as file:
            for example in only_examples(records, path):
                file.writelines(f"{line}\n" for line in self._lines(example))

    def _lines(self, example: Example) -> Iterator[str]:
        note = note_of(example, NOTE)
        self.losses.update({"relation": len(example.relations)} if example.relations else {})
        if photos := plain_photos(example, self.losses):
            self.losses["image"] += (
                0 if any(c.startswith(POST) for c in note.get("comments", ())) else len(photos)
            )
        count_rest(example, self.losses, (NOTE, ORPHANS))
        if example.text != " ".join(example.tokens):
            self.losses["white space between tokens as it was"] += 1
        for token in example.tokens:
            if (
                not token.strip()
                or any(c in token for c in "\t\n\r")
                or (self.separator == " " and " " in token)
            ):
                raise wrong(
                    f"the token {token!r} cannot be written in a column",
                    example.id,
                    "choose another tokenisation",
                    code="formats.token",
                )
        self.losses = +self.losses
        tags = self._tags(example, self.scheme or note.get("scheme") or "BIO")
        yield from _with_gaps(note.get("before", ()))
        comments = note.get("comments", ())
        if note or not self.ids:
            inner = [c for c in comments if c.partition("\t")[0].isdigit() and "\t" in c]
            yield from (c for c in comments if c not in inner)
        else:
            inner = []
            yield f"# sent_id = {example.id}"
        rows = note.get("columns")
        for i, (token, tag) in enumerate(zip(example.tokens, tags, strict=True)):
            yield from (c.partition("\t")[2] for c in inner if c.partition("\t")[0] == str(i))
            yield self._row(token, tag, rows[i] if rows and len(rows) == len(tags) else None, note)
        yield ""

    def _row(self, token: str, tag: str, row: list[str] | None, note: dict[str, Any]) -> str:
        if row is None:
            return f"{token}{self.separator}{tag}"
        cells = list(row)
        at, tagged = note.get("at", (0, -1))
        cells[at] = token
        if tagged is not None:
            cells[tagged] = tag if tag != "O" or cells[tagged] not in ("_", "-") else cells[tagged]
        return self.separator.join(cells)

    def _tags(self, example: Example, scheme: str) -> list[str]:
        """The tags of an example. Raises `DataError` for spans that overlap."""
        tags = ["O"] * len(example.tokens)
        orphans = {tuple(bounds) for bounds in example.notes.get(ORPHANS, ())}
        begin, inside, end, single = tuple(_LETTERS[scheme])
        done = last = None
        for span in sorted(example.spans, key=lambda s: (s.start, -s.end)):
            if any(tag != "O" for tag in tags[span.start : span.end]):
                if self.overlapping == "first":
                    self.losses["span that overlaps another"] += 1
                    continue
                raise wrong(
                    f"the span {span.label} of tokens {span.start} to {span.end} overlaps {done}",
                    example.id,
                    'CoNLL columns cannot hold overlapping spans: overlapping = "first" leaves the second one out',
                    code="formats.overlap",
                )
            letters = (
                [single]
                if span.end - span.start == 1
                else [begin, *[inside] * (span.end - span.start - 2), end]
            )
            touching = last is not None and last.end == span.start and last.label == span.label
            if (scheme == "IOB1" and not touching) or (scheme == "BIO" and (span.start, span.end) in orphans):
                letters[0] = "I"
            tags[span.start : span.end] = [f"{letter}-{span.label}" for letter in letters]
            done, last = f"{span.label} of tokens {span.start} to {span.end}", span
        return tags


def _with_gaps(lines: Sequence[str]) -> Iterator[str]:
    """Lines of `-DOCSTART-`, each with the empty line after it."""
    for line in lines:
        yield line
        if line.startswith(DOCSTART):
            yield ""
