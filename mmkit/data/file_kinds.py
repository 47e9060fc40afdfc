"""What a file of an unexpected kind looks like, judged by its beginning, and how to convert it."""

from __future__ import annotations

import ast
import csv
import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmkit.data.json_kinds import json_kind, record_kind
from mmkit.data.looks import OPEN, Looks, program, reads
from mmkit.data.regular import open_regular
from mmkit.data.tags import TAG, begin_with_tags

READ = 1 << 18
"""How many bytes are looked at."""


def looks_like(path: Path) -> Looks | None:
    """What a file looks like; None if it looks like nothing that is known, or cannot be read."""
    try:
        with open_regular(path) as file:
            head = file.read(READ)
    except (OSError, ValueError):
        return None
    if head.startswith(b"PAR1"):
        return Looks("a Parquet file", "parquet", reads("formats.parquet.v1"))
    if head[257:262] == b"ustar":
        return Looks("a tar file", "tar", reads("formats.webdataset.v1"))
    if head.startswith(b"x\x9c") and path.suffix == ".spacy":
        return Looks("spaCy's DocBin", "docbin", reads("formats.spacy.v1"))
    if head.startswith(b"PK\x03\x04") and (b"xl/" in head or path.suffix.lower() in (".xlsx", ".xlsm")):
        return Looks('an Excel workbook: save its sheet there as "CSV UTF-8"')
    for start, what in _BINARY:
        if head.startswith(start):
            return Looks(what)
    if b"\0" in head:  # UTF-16, or no text at all
        return None
    text = head.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = [line for line in text.split("\n")[:200] if line.strip()]
    if not lines:
        return None
    found = (
        _recipe(text),
        json_kind(text, lines),
        _python_literal(lines),
        _markup(lines[0]),
        _conll(lines),
        _separated(lines),
        _bare_labels(lines),
        _brat(lines),
        _table(lines),
    )
    for looks in found:
        if looks is not None:
            return looks
    if lines[0].lstrip()[0] in "{[" or any(
        (c < " " and c not in "\t\r\n") or c == "\ufffd" for c in text[:10_000]
    ):
        return None
    return Looks("plain text, one sentence a line", command=program(_TEXT_LINES))


_BINARY = (
    (b"\x1f\x8b", "a file packed with gzip: unpack it (gunzip)"),
    (b"PK\x03\x04", "a ZIP archive: unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file: save it as text"),
    (b"ARROW1", "an Arrow file: save its records as jsonlines"),
    *((b"\x80%c" % n, "a Python pickle, which could run code and is not read") for n in range(2, 6)),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x89PNG", "an image (PNG)"),
    (b"\xff\xd8\xff", "an image (JPEG)"),
    (b"%PDF", "a PDF document"),
    (b"BZh", "a file packed with bzip2: unpack it"),
    (b"\xfd7zXZ", "a file packed with xz: unpack it"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: fetch it with git lfs pull"),
)

_TEXT_LINES = f"""*[json.dumps({{"text": line.strip()}}) for line in {OPEN} if line.strip()]"""


def _recipe(text: str) -> Looks | None:
    if len(re.findall(r"^\[(?:recipe|data|model|training)[.\w]*\]\s*$", text, re.MULTILINE)) < 2:
        return None
    return Looks("a recipe, which `mmkit train` and `mmkit check` take", "recipe")


def _python_literal(lines: Sequence[str]) -> Looks | None:
    line = lines[0].strip()
    if not line.startswith(("{", "[")) or len(line) > 65_536:
        return None
    try:
        value = ast.literal_eval(line)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    if not isinstance(value, dict):
        return Looks("Python literals, one a line")
    record = record_kind({str(key): inner for key, inner in value.items()})
    return replace(record, what=f"lines of Python dictionaries: {record.what}", command=record.command)


def _markup(line: str) -> Looks | None:
    start = line.lstrip().lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")):
        return Looks("an HTML page: the download gave a web page in place of the file; fetch it again")
    return Looks("an XML file") if start.startswith("<?xml") else None


def _conll(lines: Sequence[str]) -> Looks | None:
    rows = [line.split() for line in lines[:60] if not line.startswith(("IMGID:", "-DOCSTART-"))]
    if begin_with_tags(rows):
        what = "CoNLL columns, a tag and its token a line"
        return Looks(what, "conll-tag-first", reads("formats.conll.v1") + " --token_column 1 --tag_column 0")
    tagged = sum(len(row) > 1 and any(TAG.fullmatch(part) for part in row[1:]) for row in rows)
    images = any(line.startswith("IMGID:") for line in lines[:60])
    if not rows or tagged < 0.8 * len(rows):
        return None
    without = "" if images else " --images null"
    more = " --tag_column -1" if any(len(row) > 2 for row in rows) else ""
    what = "CoNLL columns, a token and its tag a line" + (" under IMGID lines" if images else "")
    return Looks(what, "conll", reads("mmkit.conll_images.v1") + without + more)


def _bare_labels(lines: Sequence[str]) -> Looks | None:
    """A token and its label without B- or I-: most are O, and the others are few."""
    rows = [line.split() for line in lines if not line.startswith(("IMGID:", "-DOCSTART-"))]
    labels = {row[-1] for row in rows if len(row) > 1} - {"O"}
    outside = sum(len(row) > 1 and row[-1] == "O" for row in rows)
    if (
        any(len(row) < 2 for row in rows)
        or not labels
        or 3 * outside < len(rows)
        or 5 * len(labels) > len(rows)
    ):
        return None
    how = r"sed -E 's/([[:space:]])([^[:space:]]+)$/\1I-\2/; s/I-O$/O/'"
    return Looks(
        f"columns of a token and its label without B- or I-: write I- before each label ({how}), and read it with "
        "formats.conll.v1; neighbours with one label are then one span"
    )


def _separated(lines: Sequence[str]) -> Looks | None:
    """A token, a comma or a semicolon, and its tag a line: no reader takes these."""
    rows = [line.strip() for line in lines[:60] if not line.startswith(("IMGID:", "-DOCSTART-"))]
    # lines with several separators: a token that is one (`,,O`) is rare, so most lines have further columns
    for separator, name in ((",", "commas"), (";", "semicolons")):
        tagged = sum(bool(TAG.fullmatch(row.rpartition(separator)[2])) and separator in row for row in rows)
        if rows and tagged >= 0.8 * len(rows):
            if sum(row.count(separator) > 1 for row in rows) > 0.5 * len(rows):
                return Looks(
                    f"CoNLL columns separated by {name}, among others a token and its tag: write the token, a tab and "
                    "its tag on each line, with an empty line after each sentence, and read it with formats.conll.v1"
                )
            how = rf"sed 's/{separator}\([^{separator}]*\)$/ \1/'"
            return Looks(
                f"CoNLL columns separated by {name}: put a space in place of the last one of each line ({how}), and "
                "read it with mmkit.conll_images.v1 (images = null without IMGID lines), or with formats.conll.v1 "
                '(separator = "space")'
            )
    return None


def _brat(lines: Sequence[str]) -> Looks | None:
    of_brat = all(re.match(r"[TREAMN#*]\d*\t", line) for line in lines)
    return Looks("annotations of brat", "brat", reads("formats.brat.v1")) if of_brat else None


def _table(lines: Sequence[str]) -> Looks | None:
    for separator, name in (("\t", "TSV"), (",", "CSV"), (";", "CSV with semicolons")):
        counts = [line.count(separator) for line in lines[:20]]
        written = [column.strip().strip('"') for column in lines[0].split(separator)]
        columns = [column.lower() for column in written]
        header = len(set(columns)) == len(columns) and all(
            re.fullmatch(r"(?:[^\W\d]|[#. ()/-]){1,30}", c) for c in columns
        )
        if not counts[0] or (separator != "\t" and not header) or (len(set(counts)) > 1 and not header):
            continue
        delimiter = "" if separator == "," else f", delimiter={json.dumps(separator)}"
        text = next((c for c in columns if c in ("text", "sentence", "tweet", "caption", "post")), None)
        told = f"a table ({name}) with the columns {', '.join(written)}" if header else f"a table ({name})"
        if not header:
            return Looks(told, "table", _entity_table(delimiter) if counts[0] in (1, 2) else "")
        text = text or _longest(lines[1:20], separator, columns)
        image = next((c for c in columns if c in _IMAGE_COLUMNS), None)
        called = {key: written[columns.index(c)] for key, c in (("text", text), ("images", image)) if c}
        usual = called.get("text") == "text" and called.get("images", "image") == "image"
        settings = "" if usual else f" --columns {shlex.quote(json.dumps(called, ensure_ascii=False))}"
        settings += "" if separator == "," else f" --delimiter {shlex.quote(separator)}"
        return Looks(told, "table", reads("formats.csv.v1") + settings)
    return None


_IMAGE_COLUMNS = ("image", "img", "photo", "picture", "image_path", "img_id", "foto", "bild")


def _longest(lines: Sequence[str], separator: str, columns: Sequence[str]) -> str:
    """The column with the most words, which probably holds the sentences."""
    words = Counter(columns[:1])
    for line in lines:
        for column, cell in zip(columns, next(csv.reader([line], delimiter=separator), []), strict=False):
            words[column] += (
                len(re.findall(r"[^\W\d_]{2,}", cell)) if cell.lstrip('" ')[:1] not in "[{" else 0
            )
    return words.most_common(1)[0][0]


def _entity_table(delimiter: str) -> str:
    """A command for columns of ids, names and descriptions."""
    fields = 'dict(zip(("id", "name", "description"), row))'
    rows = f"*[json.dumps({fields}) for row in csv.reader({OPEN}{delimiter})]"
    return program(rows, '{"format": 2, "kind": "entities"}')
