"""What a file of JSON or of JSON lines looks like, by the names of the fields of its first record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mmkit.data.looks import HEADER, OPEN, Looks, program, reads
from mmkit.data.usual_names import NAMES


def json_kind(text: str, lines: Sequence[str]) -> Looks | None:
    """What a text of JSON looks like; `lines` are its first lines. None if it is no JSON, or is cut off too early."""
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
        record = record_kind(json.loads(line))
    except (ValueError, RecursionError, AttributeError):
        record = Looks("")
    if record.kind in ("doccano", "prodigy"):
        what = f"JSON lines of {record.what}, under the header of mmkit's jsonlines"
        reader = f"formats.{record.kind}.v1"
        return Looks(what, "headed", f"tail -n +2 {{path}} > {{made}}  (and read that with {reader})")
    return Looks(f"mmkit's own jsonlines of {kind}", f"jsonl-{kind}")


_LIST_OF_RECORDS = f"*map(json.dumps, json.load({OPEN}))"


def _of_list(item: Any) -> Looks:
    if isinstance(item, list):
        if len(item) in (4, 11):
            return Looks(
                "a JSON list of captions as WikiDiverse has them",
                "wikidiverse",
                reads("mmkit.wikidiverse.v1"),
            )
        return Looks("a JSON list of lists")
    if not isinstance(item, dict):
        return Looks(f"a JSON list of values such as {json.dumps(item, ensure_ascii=False)[:40]}")
    record = record_kind(item)
    what = f"a JSON list of {record.what}"
    if record.kind == "tagged":
        return _tagged(item, what, f"json.load({OPEN})")
    if record.kind in ("posts", "unknown"):
        return replace(record, what=what, command=program(_LIST_OF_RECORDS) if record.kind == "posts" else "")
    return replace(record, what=what)


def _list_of_lines() -> str:
    """A command that makes a JSON list of JSON lines."""
    lines = f"json.dumps([json.loads(line) for line in {OPEN} if line.strip()])"
    return f"python -c 'import json, sys; print({lines})' {{path}} > {{made}}"


def _of_lines(item: dict[str, Any]) -> Looks:
    record = record_kind(item)
    what = f"JSON lines of {record.what}"
    if record.kind == "tagged":
        return _tagged(item, what, f"map(json.loads, filter(str.strip, {OPEN}))")
    if record.kind == "posts":
        header = f"(echo '{HEADER}'; cat {{path}}) > {{made}}"
        return Looks(f"{what}, without the header of jsonlines", "posts-lines", header)
    if record.kind in ("mnre", "doccano", "prodigy"):
        return replace(record, what=what)
    if record.kind == "kb-json":
        return Looks(what, "kb-lines", reads("mmkit.kb_jsonl.v1"))
    if record.kind in ("jmere", "wikidiverse", "wikiperson"):
        return Looks(f"{what}, where a JSON list is published", f"{record.kind}-lines", _list_of_lines())
    if len(item) == 1 and isinstance(next(iter(item.values())), dict):
        inner = record_kind(next(iter(item.values())))
        merged = f"{{k: v for line in {OPEN} if line.strip() for k, v in json.loads(line).items()}}"
        made = f"python -c 'import json, sys; print(json.dumps({merged}))' {{path}} > {{made}}"
        return Looks(f"JSON lines, each an object with {inner.what} by its key", "lines-of-maps", made)
    return Looks(what)


def _tagged(item: dict[str, Any], what: str, records: str) -> Looks:
    """Lists of tokens and tags, and the command that makes CoNLL columns of them, with `IMGID:` lines of pictures."""
    tags = next(name for name in TAGS if name in item)
    if not isinstance(item[tags], list) or not all(isinstance(tag, str) for tag in item[tags]):
        return Looks(f"{what}, which are no texts: write the name of each tag, such as B-PER", "tagged")
    picture = next((n for n in ("images", *NAMES["images"]) if isinstance(item.get(n), str)), "")
    above = f""""IMGID:" + r["{picture}"] + chr(10) + """ if picture else ""
    lines = f"""chr(10).join(t + chr(9) + g for t, g in zip(r["tokens"], r["{tags}"])) + chr(10)"""
    made = f"print(*({above}{lines} for r in {records}), sep=chr(10))"
    return Looks(what, "tagged", f"python -c 'import json, sys; {made}' {{path}} > {{made}}")


def _of_line(item: dict[str, Any]) -> Looks:
    """A file that is one JSON object on one line, which may be one record or a map of them."""
    record = record_kind(item)
    if record.kind not in ("unknown", "posts", "tagged"):
        return replace(record, what=f"JSON lines of {record.what}")
    if record.kind in ("posts", "tagged"):
        return _of_lines(item)
    if _ID.search(next(iter(item), "")) is not None:
        return Looks(record.what)
    return _of_object(next(iter(item.items()), None)) or Looks("a JSON object")


TAGS = ("ner_tags", "tags", "labels")
"""What a list of one tag for each token is called."""

_ID = re.compile(r"(?i)^((q|u|gu|wiki|wikidata|entity|page)?[_-]?id|key|index|title|name|label)$")
"""What the first field of a record may be called, where a map of texts has an entity's id."""


def _of_object(first: tuple[Any, ...] | None) -> Looks | None:
    """A JSON object by its first key and value."""
    if first is None:
        return None
    _, value = first
    if isinstance(value, dict):
        record = record_kind(value)
        if record.kind == "melbench":
            return Looks("a JSON object of records as MELBench has them", "melbench", record.command)
        return replace(record, what=f"a JSON object of {record.what}", command="")
    if isinstance(value, str) or value is None:
        return Looks("a JSON object of texts by key", "kb-json", reads("mmkit.kb_json.v1"))
    if isinstance(value, list):
        return Looks("a JSON object of lists by key (a crop table, or candidate lists)", "lists")
    return Looks("a JSON object of numbers by key")


def record_kind(item: dict[str, Any]) -> Looks:
    """A record by the names of its fields."""
    keys = item.keys()
    for needed, what, kind, reader in _RECORDS:
        if needed <= keys and not (kind == "doccano" and _other_spans(item)):
            return Looks(what, kind, reads(reader) if reader else "")
    named = ", ".join(f"`{key}`" for key in list(keys)[:6]) or "nothing"
    return Looks(f"records with {named}", "unknown")


def _other_spans(item: dict[str, Any]) -> bool:
    """Whether the spans of a record that could be doccano's have other fields than doccano's."""
    for name in ("entities", "labels", "label"):
        spans = item.get(name)
        if isinstance(spans, list) and spans and isinstance(spans[0], dict):
            return "start_offset" not in spans[0]
    return False


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
    (
        frozenset({"annotation_id", "annotator"}),
        "Label Studio's JSON-MIN, which is not read: export the project as JSON",
        "label-studio-min",
        "",
    ),
    (frozenset({"text", "_input_hash"}), "tasks of Prodigy", "prodigy", "formats.prodigy.v1"),
    (frozenset({"text", "spans", "answer"}), "tasks of Prodigy", "prodigy", "formats.prodigy.v1"),
    (frozenset({"text", "entities"}), "texts that doccano labelled", "doccano", "formats.doccano.v1"),
    (frozenset({"text", "labels"}), "texts that doccano labelled", "doccano", "formats.doccano.v1"),
    (frozenset({"text", "label"}), "texts that doccano labelled", "doccano", "formats.doccano.v1"),
    *(
        (frozenset({"tokens", tags}), f"posts with a tag for each token (`{tags}`)", "tagged", "")
        for tags in TAGS
    ),
    (frozenset({"tokens"}), "posts with `tokens`", "posts", ""),
    (frozenset({"text"}), "posts with `text`", "posts", ""),
)
