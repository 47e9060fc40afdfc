"""`formats.brat.v1`: brat's standoff files, a text beside its annotations (`17.txt`, `17.ann`)."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmkit import Entity, Example, Image
from mmkit.data.alignment import CharSpan
from mmkit.data.lines import numbered_lines
from mmkit.data.reader import Guess
from mmkit.data.writer import Writer, only_examples
from mmkit.errors import DataError
from mmkit.files import explained
from mmkit_formats.drafts import (
    Draft,
    Extras,
    FormatReader,
    Link,
    Mark,
    all_spans,
    characters,
    count_rest,
    note_of,
)
from mmkit_formats.media import ENDINGS
from mmkit_formats.messages import shown, wrong

NOTE = "formats.brat"
_TEXT_BOUND = re.compile(r"(T\d+)\t(\S+) (\d+ \d+(?:;\d+ \d+)*)(?:\t(.*))?")
_RELATION = re.compile(r"(R\d+)\t(\S+) Arg1:(\S+) Arg2:(\S+)\s*")
_OTHER = re.compile(r"(?:[EAMNR#]\S*|\*)\t.*", re.DOTALL)


class BratReader(FormatReader):
    """Reads brat's standoff: `file` is a folder of texts (`.txt`) and annotations (`.ann`), or one of the two files.

    Each text is one example; its id is the name without the ending. Text-bound annotations (`T`) are spans, binary
    relations (`R`) are relations. A discontinuous span is an error; `misaligned = "drop"` leaves it out. Events,
    attributes, normalisations and comments are kept in the note `formats.brat`. An image with the text's name
    (`17.jpg`) is its photo.
    """

    note = NOTE

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """A folder with annotations (`.ann`); not one of its files, which are read together."""
        if not path.is_dir() or not any(path.glob("*.ann")):
            return None
        return Guess("texts and annotations of brat")

    def files(self) -> list[Path]:
        return [path for text in self._texts() for path in (text, text.with_suffix(".ann")) if path.exists()]

    def drafts(self) -> Iterator[Draft]:
        for text in self._texts():
            yield self._draft(text)

    def _texts(self) -> list[Path]:
        path = self.path
        if path.is_dir():
            texts = sorted(path.rglob("*.txt"))
            if not texts:
                raise wrong(
                    "there is no text (.txt) in this folder",
                    path,
                    "a text stands beside its .ann file",
                    code="formats.no-text",
                )
            return texts
        return [path.with_suffix(".txt") if path.suffix == ".ann" else path]

    def _draft(self, path: Path) -> Draft:
        text = "\n".join(
            line for _, line in numbered_lines(path, "a text stands beside its .ann file", self.repairs)
        )
        raw = path.read_bytes()
        text += "\n" if raw.endswith(b"\n") else ""
        if b"\r\n" in raw:
            raise wrong(
                "the text has Windows line ends, which brat's offsets count but mmkit does not",
                path,
                "save it with \\n as line ends, and annotate that text",
                code="formats.line-ends",
            )
        folder = self.path if self.path.is_dir() else self.path.parent
        draft = Draft(str(path), path.relative_to(folder).with_suffix("").as_posix(), text)
        for ending in ENDINGS:
            photo = next((p for e in (ending, ending.upper()) if (p := path.with_suffix(e)).is_file()), None)
            if photo is not None:
                draft.images = (Image(str(photo)),)
                break
        annotations = path.with_suffix(".ann")
        if not annotations.exists():
            self.repairs["text without an .ann file"] += 1
            draft.extra = {"unannotated": True}
            return draft
        self._read(annotations, draft)
        return draft

    def _read(self, path: Path, draft: Draft) -> None:
        places: dict[str, int] = {}
        lines = list(numbered_lines(path, "", self.repairs))
        rest: list[str] = []
        dropped: set[str] = set()
        for number, line in lines:
            where = f"{path}:{number}"
            if not line.strip() or line.startswith("R"):
                continue
            if not line.startswith("T"):
                if not _OTHER.fullmatch(line):
                    raise wrong(
                        f"this is not a line of a brat file: {shown(line)}",
                        where,
                        "see docs/formats.md",
                        code="formats.brat-line",
                    )
                rest.append(line)
                continue
            match = _TEXT_BOUND.fullmatch(line)
            if match is None:
                raise wrong(
                    f"this is not a text-bound annotation: {shown(line)}",
                    where,
                    "it looks like T1<tab>PER 0 6<tab>Jordan",
                    code="formats.brat-line",
                )
            name, label, bounds, words = match.groups()
            if ";" in bounds:
                if self.misaligned == "drop":
                    self.repairs["discontinuous span left out"] += 1
                    dropped.add(name)
                    continue
                raise wrong(
                    f"{name} is a discontinuous span ({bounds}), which mmkit does not support",
                    where,
                    'join its parts in brat, or set misaligned = "drop" to leave such spans out',
                    code="formats.discontinuous",
                )
            start, end = map(int, bounds.split())
            said = None if words is None or words == draft.text[start:end].replace("\n", " ") else words
            if name in places:
                raise wrong(
                    f"{name} occurs twice",
                    where,
                    "give each annotation its own name",
                    code="formats.brat-line",
                )
            places[name] = len(draft.marks)
            draft.marks.append(
                Mark(CharSpan(start, end, label, f"{name} in {path.name}:{number}", said), {"id": name})
            )
        for number, line in lines:
            if not line.startswith("R"):
                continue
            match = _RELATION.fullmatch(line)
            if match is None:
                rest.append(line)
                continue
            name, label, *ends = match.groups()
            if dropped & set(ends):
                self.repairs["relation left out with a span that is"] += 1
            elif missing := [end for end in ends if end not in places]:
                if missing[0].startswith("E"):
                    rest.append(line)
                    continue
                raise wrong(
                    f"{name} joins {missing[0]}, which does not exist",
                    f"{path}:{number}",
                    "",
                    code="formats.no-such-span",
                )
            else:
                draft.links.append(Link(places[ends[0]], places[ends[1]], label, {"id": name}))
        if rest:
            self.repairs["line that is neither a span nor a relation kept in a note"] += len(rest)
            draft.extra = {"lines": rest}


class BratWriter(Writer):
    """Writes a folder for brat: each example's text and annotations, and an `annotation.conf` with its labels.

    The folder must be new or empty. Each example's id becomes a file's name: `/` in it makes folders.
    """

    def write(self, path: Path, records: Iterable[Example | Entity]) -> None:
        self.losses.clear()
        labels: dict[str, set[str]] = {"entities": set(), "relations": set()}
        with whole_folder(path) as folder:
            for example in only_examples(records, path):
                self._write_one(folder, example, labels)
            types = "\n".join(sorted(labels["entities"]))
            relations = "\n".join(f"{label}\tArg1:<ANY>, Arg2:<ANY>" for label in sorted(labels["relations"]))
            config = f"[entities]\n{types}\n\n[relations]\n{relations}\n\n[events]\n\n[attributes]\n"
            (folder / "annotation.conf").write_text(config, encoding="utf-8")

    def _write_one(self, folder: Path, example: Example, labels: dict[str, set[str]]) -> None:
        parts = Path(example.id).parts
        if (
            not parts
            or ".." in parts
            or Path(example.id).is_absolute()
            or any(c in example.id for c in "\0\n\\:*?")
        ):
            raise wrong(
                f"the id {example.id!r} cannot be a file's name",
                example.id,
                "change the id",
                code="formats.id",
            )
        text = folder / f"{example.id}.txt"
        if text.exists():
            raise wrong(
                f"two ids make the file {text.name}",
                example.id,
                "give ids that differ in more than upper and lower case",
                code="formats.id",
            )
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_bytes(example.text.encode())
        note = note_of(example, NOTE)
        if example.images:
            self.losses["image (put it beside the text, under the text's name)"] += len(example.images)
        count_rest(example, self.losses, (NOTE,), tokens=False)
        if not note.get("unannotated") or example.spans:
            lines = "".join(f"{line}\n" for line in self._lines(example, note, labels))
            text.with_name(f"{text.stem if text.suffix == '.txt' else text.name}.ann").write_bytes(
                lines.encode()
            )

    def _lines(self, example: Example, note: dict[str, Any], labels: dict[str, set[str]]) -> Iterator[str]:
        extras = Extras(note)
        spans = all_spans(example, self.losses)
        ids = _numbered("T", [extras.of_span(span).get("id") for span in spans])
        for id, span in zip(ids, spans, strict=True):
            start, end = characters(example, span)
            label = _name(span.label, example.id)
            labels["entities"].add(label)
            yield f"{id}\t{label} {start} {end}\t" + example.text[start:end].replace("\n", " ")
        told = _numbered("R", [extras.of_relation(r).get("id") for r in example.relations])
        for id, relation in zip(told, example.relations, strict=True):
            if relation.label is None:
                self.losses["relation without a label, written as 'relation'"] += 1
            label = _name(relation.label or "relation", example.id)
            labels["relations"].add(label)
            head, tail = ids[spans.index(relation.head)], ids[spans.index(relation.tail)]
            yield f"{id}\t{label} Arg1:{head} Arg2:{tail}"
        yield from note.get("lines", ())


def _numbered(letter: str, given: list[str | None]) -> list[str]:
    """The names of annotations: the ones they had, or new ones."""
    used = {int(name[1:]) for name in given if name}
    free = (number for number in range(1, len(given) + len(used) + 1) if number not in used)
    return [name or f"{letter}{next(free)}" for name in given]


def _name(label: str, id: str) -> str:
    if not label or re.search(r"\s", label):
        raise wrong(
            f"the label {label!r} contains white space, which brat does not allow in labels",
            id,
            "rename the label",
            code="formats.label",
        )
    return label


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder that appears when the block succeeds. Raises `DataError` if the path already exists."""
    with explained(path, DataError):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise wrong(
                "this path already exists",
                path,
                "name a folder that does not exist yet",
                code="formats.exists",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield temporary
            temporary.chmod(0o755)
            if path.is_dir():
                path.rmdir()
            os.replace(temporary, path)  # noqa: PTH105
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
