"""What a file of an unexpected kind looks like, judged by its beginning, and how to convert it."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmkit.data.regular import open_regular

READ = 1 << 18
"""How many bytes are looked at."""

HEADER = '{"format": 2, "kind": "examples"}'

_CONVERT = "mmkit convert {path} {made} --reader {reader}"

_OPEN = 'open(sys.argv[1], encoding="utf-8")'


ONE_VALUE = frozenset({"jmere-lines", "wikidiverse-lines", "wikiperson-lines", "lines-of-maps"})
"""Kinds of JSON lines that become one JSON value."""


_CANONICAL = {
    "jsonl-examples": "mmkit.jsonl.v1 reads it",
    "jsonl-entities": "mmkit.kb_jsonl.v1 reads it",
    "jsonl-predictions": "`mmkit score` scores predictions",
}


@dataclass(frozen=True)
class Looks:
    """What a file looks like: in words, by the kind that readers know it by, and the command that converts it.

    In `command`, `{path}` and `{made}` stand for the file and for the one that is made; empty if there is none.
    """

    what: str
    kind: str = ""
    command: str = ""

    def advice(self, path: Path) -> str:
        """What to do with the file; empty if nothing can be said."""
        if not self.command:
            return _CANONICAL.get(self.kind, "")
        made = path.with_suffix(".jsonl" if path.suffix != ".jsonl" else ".new.jsonl")
        if self.kind in ONE_VALUE:
            made = path.with_suffix(".one.json")
        names = {"{path}": shlex.quote(str(path)), "{made}": shlex.quote(str(made))}
        command = re.sub(r"\{path\}|\{made\}", lambda m: names[m[0]], self.command)
        return f"convert it: {command}{_reading(self.command, self.kind)}"


def _reading(command: str, kind: str) -> str:
    """Which reader reads what a command makes."""
    if kind in ONE_VALUE or kind == "headed":
        return ""
    of_entities = "entities" in command or "--reader mmkit.kb_" in command
    return f"  (and read that with {'mmkit.kb_jsonl.v1' if of_entities else 'mmkit.jsonl.v1'})"


def looks_like(path: Path) -> Looks | None:
    """What a file looks like; None if it looks like nothing that is known, or cannot be read."""
    try:
        with open_regular(path) as file:
            head = file.read(READ)
    except (OSError, ValueError):
        return None
    if head.startswith(b"PAR1"):
        return Looks("a Parquet file", "parquet", _reads("formats.parquet.v1"))
    if head[257:262] == b"ustar":
        return Looks("a tar file", "tar", _reads("formats.webdataset.v1"))
    if head.startswith(b"x\x9c") and path.suffix == ".spacy":
        return Looks("spaCy's DocBin", "docbin", _reads("formats.spacy.v1"))
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
        _json(text, lines),
        _python_literal(lines),
        _markup(lines[0]),
        _conll(lines),
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
    return Looks("plain text, one sentence a line", command=_program(_TEXT_LINES))


_BINARY = (
    (b"\x1f\x8b", "a file packed with gzip: unpack it (gunzip)"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook: unpack it, or save the table as text"),
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

_TEXT_LINES = f"""*[json.dumps({{"text": line.strip()}}) for line in {_OPEN} if line.strip()]"""
_LIST_OF_RECORDS = f"*map(json.dumps, json.load({_OPEN}))"


def _program(records: str, header: str = HEADER) -> str:
    """A command that prints a header and records as jsonlines; `records` is Python."""
    return f"python -c 'import csv, json, sys; print({header!r}, {records}, sep=\"\\n\")' {{path}} > {{made}}".replace(
        repr(header), '"' + header.replace('"', '\\"') + '"'
    )


def _list_of_lines() -> str:
    """A command that makes a JSON list of JSON lines."""
    lines = f"json.dumps([json.loads(line) for line in {_OPEN} if line.strip()])"
    return f"python -c 'import json, sys; print({lines})' {{path}} > {{made}}"


def _recipe(text: str) -> Looks | None:
    if len(re.findall(r"^\[(?:recipe|data|model|training)[.\w]*\]\s*$", text, re.MULTILINE)) < 2:
        return None
    return Looks("a recipe, which `mmkit train` and `mmkit check` take", "recipe")


# JSON


def _json(text: str, lines: Sequence[str]) -> Looks | None:
    start = text.lstrip()[:1]
    if start == '"':
        return _of_string(text)
    if start == "[":
        item = next(_items(text, 1), None)
        return None if item is None else _of_list(item[0])
    if start != "{":
        return None
    try:
        first = json.loads(lines[0])
    except (ValueError, RecursionError):
        return _of_object(next(_items(text, 1), None))
    if "format" in first and "kind" in first:
        return _canonical(first, lines[1] if len(lines) > 1 else "")
    if len(lines) > 1 and lines[1].lstrip().startswith("{"):
        return _of_lines(first)
    return _of_line(first)


def _of_string(text: str) -> Looks | None:
    """A file that is one JSON string, which may go on after the part that is looked at."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Unterminated string"):
            return None
    return Looks("one JSON string: was a value encoded as JSON twice?")


def _items(text: str, number: int) -> Iterator[tuple[Any, ...]]:
    """The first values of a JSON list, or keys and values of an object; it may be cut off behind them."""
    decoder, at = json.JSONDecoder(), 1 + len(text) - len(text.lstrip())
    is_object = text.lstrip()[0] == "{"
    for _ in range(number):
        try:
            found: list[Any] = []
            for separator in (":", "") if is_object else ("",):
                at += len(text[at:]) - len(text[at:].lstrip())
                value, at = decoder.raw_decode(text, at)
                found.append(value)
                if separator:
                    at = text.index(separator, at) + 1
            yield tuple(found)
        except (ValueError, RecursionError):
            return


def _canonical(header: dict[str, Any], line: str) -> Looks:
    """A file with the header of jsonlines, and its second line; the header may stand above another tool's records."""
    kind = header["kind"]
    try:
        record = _record(json.loads(line))
    except (ValueError, RecursionError, AttributeError):
        record = Looks("")
    if record.kind in ("doccano", "prodigy"):
        what = f"JSON lines of {record.what}, under the header of mmkit's jsonlines"
        reader = f"formats.{record.kind}.v1"
        return Looks(what, "headed", f"tail -n +2 {{path}} > {{made}}  (and read that with {reader})")
    return Looks(f"mmkit's own jsonlines of {kind}", f"jsonl-{kind}")


def _of_list(item: Any) -> Looks:
    if isinstance(item, list):
        if len(item) in (4, 11):
            return Looks(
                "a JSON list of captions as WikiDiverse has them",
                "wikidiverse",
                _reads("mmkit.wikidiverse.v1"),
            )
        return Looks("a JSON list of lists")
    if not isinstance(item, dict):
        return Looks(f"a JSON list of values such as {json.dumps(item, ensure_ascii=False)[:40]}")
    record = _record(item)
    what = f"a JSON list of {record.what}"
    if record.kind in ("posts", "unknown"):
        return replace(
            record, what=what, command=_program(_LIST_OF_RECORDS) if record.kind == "posts" else ""
        )
    return replace(record, what=what)


def _of_lines(item: dict[str, Any]) -> Looks:
    record = _record(item)
    what = f"JSON lines of {record.what}"
    if record.kind == "posts":
        header = f"(echo '{HEADER}'; cat {{path}}) > {{made}}"
        return Looks(f"{what}, without the header of jsonlines", "posts-lines", header)
    if record.kind in ("mnre", "doccano", "prodigy"):
        return replace(record, what=what)
    if record.kind == "kb-json":
        return Looks(what, "kb-lines", _reads("mmkit.kb_jsonl.v1"))
    if record.kind in ("jmere", "wikidiverse", "wikiperson"):
        return Looks(f"{what}, where a JSON list is published", f"{record.kind}-lines", _list_of_lines())
    if len(item) == 1 and isinstance(next(iter(item.values())), dict):
        inner = _record(next(iter(item.values())))
        merged = f"{{k: v for line in {_OPEN} if line.strip() for k, v in json.loads(line).items()}}"
        made = f"python -c 'import json, sys; print(json.dumps({merged}))' {{path}} > {{made}}"
        return Looks(f"JSON lines, each an object with {inner.what} by its key", "lines-of-maps", made)
    return Looks(what)


def _of_line(item: dict[str, Any]) -> Looks:
    """A file that is one JSON object on one line, which may be one record or a map of them."""
    record = _record(item)
    if record.kind not in ("unknown", "posts"):
        return replace(record, what=f"JSON lines of {record.what}")
    if record.kind == "posts":
        return _of_lines(item)
    if _ID.search(next(iter(item), "")) is not None:
        return Looks(record.what)
    return _of_object(next(iter(item.items()), None)) or Looks("a JSON object")


_ID = re.compile(r"(?i)^((q|u|gu|wiki|wikidata|entity|page)?[_-]?id|key|index|title|name|label)$")
"""What the first field of a record may be called, where a map of texts has an entity's id."""


def _of_object(first: tuple[Any, ...] | None) -> Looks | None:
    """A JSON object by its first key and value."""
    if first is None:
        return None
    _, value = first
    if isinstance(value, dict):
        record = _record(value)
        if record.kind == "melbench":
            return Looks("a JSON object of records as MELBench has them", "melbench", record.command)
        return replace(record, what=f"a JSON object of {record.what}", command="")
    if isinstance(value, str) or value is None:
        return Looks("a JSON object of texts by key", "kb-json", _reads("mmkit.kb_json.v1"))
    if isinstance(value, list):
        return Looks("a JSON object of lists by key (a crop table, or candidate lists)", "lists")
    return Looks("a JSON object of numbers by key")


def _record(item: dict[str, Any]) -> Looks:
    """A record by the names of its fields."""
    keys = item.keys()
    for needed, what, kind, reader in _RECORDS:
        if needed <= keys:
            return Looks(what, kind, _reads(reader) if reader else "")
    named = ", ".join(f"`{key}`" for key in list(keys)[:6]) or "nothing"
    return Looks(f"records with {named}", "unknown")


def _reads(reader: str) -> str:
    return _CONVERT.replace("{reader}", reader)


_RECORDS: tuple[tuple[frozenset[str], str, str, str], ...] = (
    (frozenset({"token", "h", "t"}), "relation instances as MNRE has them", "mnre", "mmkit.mnre.v1"),
    (frozenset({"triple_list", "ent_pair_list"}), "sentences as JMERE has them", "jmere", "mmkit.jmere.v1"),
    (
        frozenset({"sentence", "mentions", "img_list"}),
        "records as Richpedia has them",
        "melbench",
        "mmkit.richpedia.v1",
    ),
    (frozenset({"sentence", "mentions"}), "records as WikiMEL has them", "melbench", "mmkit.wikimel.v1"),
    (frozenset({"sentence", "mention"}), "captions as DWE has them", "wikidiverse", "mmkit.wikidiverse.v1"),
    (
        frozenset({"image", "boundingbox"}),
        "photos as WIKIPerson has them",
        "wikiperson",
        "mmkit.wikiperson.v1",
    ),
    (frozenset({"id", "name"}), "entities with `id` and `name`", "kb-json", "mmkit.kb_json.v1"),
    (frozenset({"data", "annotations"}), "tasks of Label Studio", "label-studio", "formats.label_studio.v1"),
    (frozenset({"text", "_input_hash"}), "tasks of Prodigy", "prodigy", "formats.prodigy.v1"),
    (frozenset({"text", "spans", "answer"}), "tasks of Prodigy", "prodigy", "formats.prodigy.v1"),
    (frozenset({"text", "entities"}), "texts that doccano labelled", "doccano", "formats.doccano.v1"),
    (frozenset({"text", "labels"}), "texts that doccano labelled", "doccano", "formats.doccano.v1"),
    (frozenset({"text", "label"}), "texts that doccano labelled", "doccano", "formats.doccano.v1"),
    (frozenset({"tokens"}), "posts with `tokens`", "posts", ""),
    (frozenset({"text"}), "posts with `text`", "posts", ""),
)


# Text


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
    record = _record({str(key): inner for key, inner in value.items()})
    return replace(record, what=f"lines of Python dictionaries: {record.what}", command=record.command)


def _markup(line: str) -> Looks | None:
    start = line.lstrip().lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")):
        return Looks("an HTML page: the download gave a web page in place of the file; fetch it again")
    return Looks("an XML file") if start.startswith("<?xml") else None


_TAG = re.compile(r"(O|[BIESLUMW]-\S+)")


def _conll(lines: Sequence[str]) -> Looks | None:
    rows = [line.split() for line in lines[:60] if not line.startswith(("IMGID:", "-DOCSTART-"))]
    tagged = sum(len(row) > 1 and any(_TAG.fullmatch(part) for part in row[1:]) for row in rows)
    images = any(line.startswith("IMGID:") for line in lines[:60])
    if not rows or tagged < 0.8 * len(rows):
        return None
    without = "" if images else " --images null"
    more = " --tag_column -1" if any(len(row) > 2 for row in rows) else ""
    what = "CoNLL columns, a token and its tag a line" + (" under IMGID lines" if images else "")
    return Looks(what, "conll", _reads("mmkit.conll_images.v1") + without + more)


def _brat(lines: Sequence[str]) -> Looks | None:
    of_brat = all(re.match(r"[TREAMN#*]\d*\t", line) for line in lines)
    return Looks("annotations of brat", "brat", _reads("formats.brat.v1")) if of_brat else None


def _table(lines: Sequence[str]) -> Looks | None:
    for separator, name in (("\t", "TSV"), (",", "CSV"), (";", "CSV with semicolons")):
        counts = [line.count(separator) for line in lines[:20]]
        written = [column.strip().strip('"') for column in lines[0].split(separator)]
        columns = [column.lower() for column in written]
        header = len(set(columns)) == len(columns) and all(
            re.fullmatch(r"[a-z_#. ]{1,30}", c) for c in columns
        )
        if not counts[0] or (separator != "\t" and not header) or (len(set(counts)) > 1 and not header):
            continue
        delimiter = "" if separator == "," else f", delimiter={json.dumps(separator)}"
        text = next((c for c in columns if c in ("text", "sentence", "tweet", "caption", "post")), None)
        told = f"a table ({name}) with the columns {', '.join(columns)}" if header else f"a table ({name})"
        if not header or text is None:
            return Looks(
                told, "table", _entity_table(delimiter) if not header and counts[0] in (1, 2) else ""
            )
        image = next(
            (c for c in columns if c in ("image", "img", "photo", "picture", "image_path", "img_id")), None
        )
        called = {key: written[columns.index(c)] for key, c in (("text", text), ("images", image)) if c}
        usual = called.get("text") == "text" and called.get("images", "image") == "image"
        settings = "" if usual else f" --columns {shlex.quote(json.dumps(called, ensure_ascii=False))}"
        settings += "" if separator == "," else f" --delimiter {shlex.quote(separator)}"
        return Looks(told, "table", _reads("formats.csv.v1") + settings)
    return None


def _entity_table(delimiter: str) -> str:
    """A command for columns of ids, names and descriptions."""
    fields = 'dict(zip(("id", "name", "description"), row))'
    rows = f"*[json.dumps({fields}) for row in csv.reader({_OPEN}{delimiter})]"
    return _program(rows, '{"format": 2, "kind": "entities"}')
