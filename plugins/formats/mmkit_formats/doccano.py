"""`formats.doccano.v1`: doccano's JSONL of sequence labelling, relation extraction and text classification."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmkit import Entity, Example, Image
from mmkit.data.alignment import CharSpan, Misaligned, Units
from mmkit.data.node import Node
from mmkit.data.reader import Guess
from mmkit.data.writer import Writer, only_examples
from mmkit.errors import DataError
from mmkit.files import atomic
from mmkit_formats.drafts import (
    CHOICES,
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
from mmkit_formats.media import located, plain_photos
from mmkit_formats.messages import are_triples, first_record, looks_like, not_this_format, wrong

NOTE = "formats.doccano"
_LABELS = ("label", "labels")
_MARKED = frozenset({"label", "labels", "entities", "relations"})
_READ = ("id", "text", "entities", "relations")


class DoccanoReader(FormatReader):
    """Reads the JSONL that doccano exports: a record a line, with `text` and its labels.

    Labels are `"label": [[0, 6, "PER"]]` (or `labels`), or `entities` and `relations` with offsets and ids. Labels of
    the whole text (`"label": ["positive"]`) become the note `formats.choices`. doccano has no images beside text:
    `images` names the fields of a record that hold paths of images, relative to `root`. All other fields, such as
    comments, are kept in the note `formats.doccano`.
    """

    note = NOTE
    form = "the JSONL that doccano exports: an object with `text` a line"
    kinds = frozenset({"doccano", "posts", "posts-lines"})

    def __init__(
        self,
        root: str,
        file: str,
        blank_images: bool = False,
        *,
        misaligned: Misaligned = "error",
        offsets: Units = "characters",
        images: list[str] | None = None,
    ) -> None:
        super().__init__(root, file, blank_images, misaligned=misaligned, offsets=offsets)
        self.images = ["image", "images"] if images is None else list(images)

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        return Guess("texts that doccano labelled") if looks_like(first_record(head)) == "doccano" else None

    def drafts(self) -> Iterator[Draft]:
        for record, where, id in self.json_lines():
            if isinstance(record, dict) and not record.keys() & _MARKED and looks_like(record):
                not_this_format("a line without labels", where, "", record)
            if not isinstance(record, dict) or not isinstance(record.get("text"), str):
                not_this_format(
                    "a line without a `text`", where, 'doccano writes {"text": ...} a line', record
                )
            yield self._draft(Node(record, where), id)

    def _draft(self, node: Node, id: str) -> Draft:
        record = node.object()
        draft = Draft(node.where, str(record["id"]) if "id" in record else id, node["text"].text())
        extra = {k: v for k, v in record.items() if k not in (*_READ, *_LABELS)}
        if "id" in record and not isinstance(record["id"], str):
            extra["id"] = record["id"]
        for name in self.images:
            if record.get(name) is not None:
                value = node[name]
                paths = (value.text(),) if isinstance(value.value, str) else value.strings()
                draft.images += tuple(Image(located(path, self.root)) for path in paths)
        form = next((name for name in _LABELS if name in record), "entities")
        triples = are_triples(record.get("entities"))  # as spaCy's examples have them
        if triples:
            extra["form"] = "label"
            self._read_labels(node, "entities", draft)
        elif form != "entities":
            extra["form"] = form
            self._read_labels(node, form, draft)
        elif "entities" not in record and "relations" not in record:
            extra["form"] = "none"
        ids: dict[Any, int] = {}
        for i, n in enumerate(() if triples else node.list("entities", lambda n: n)):
            more = {k: v for k, v in n.object().items() if k not in ("start_offset", "end_offset", "label")}
            if "start_offset" not in n.value:
                not_this_format("an entity without `start_offset`", node.where, "see docs/formats.md", record)
            span = CharSpan(n["start_offset"].count(), n["end_offset"].count(), n["label"].text(), n.name)
            ids[n.value.get("id", i)] = len(draft.marks)
            draft.marks.append(Mark(span, more))
        for n in node.list("relations", lambda n: n):
            ends = [n.object() and n[key].value for key in ("from_id", "to_id")]
            for end in ends:
                if end not in ids:
                    raise wrong(
                        f"`{n.name}` joins the entity {end!r}, which the record does not have",
                        node.where,
                        "export the project with its entities",
                        code="formats.no-such-span",
                    )
            more = {k: v for k, v in n.object().items() if k not in ("from_id", "to_id", "type")}
            draft.links.append(Link(ids[ends[0]], ids[ends[1]], n.optional("type", Node.text), more))
        draft.extra = extra
        return draft

    def _read_labels(self, node: Node, form: str, draft: Draft) -> None:
        """Spans `[start, end, label]`, or labels of the whole text."""
        whole = []
        for n in node[form].items():
            if isinstance(n.value, str):
                whole.append(n.value)
                continue
            parts = list(n.items())
            if len(parts) != 3:
                n.fail("[start, end, label]")
            draft.marks.append(Mark(CharSpan(parts[0].count(), parts[1].count(), parts[2].text(), n.name)))
        if whole and draft.marks:
            raise wrong(
                "labels of the whole text and of spans are in one field",
                node.where,
                "put them into two fields",
                code="formats.labels",
            )
        if whole:
            draft.choices = {form: whole}


class DoccanoWriter(Writer):
    """Writes doccano's JSONL, to be imported into a project.

    `form` is "entities" for projects with relations (`entities` and `relations`) or "label" for those without them
    (`"label": [[0, 6, "PER"]]`); records that came from doccano keep their form. Photos become the field `image`.
    """

    ending = ".jsonl"

    def __init__(self, form: str = "entities") -> None:
        super().__init__()
        if form not in ("entities", "label", "labels"):
            raise ValueError(f'form is "entities", "label" or "labels", not {form!r}')
        self.form = form

    def write(self, path: Path, records: Iterable[Example | Entity]) -> None:
        self.losses.clear()
        with atomic(path, error=DataError) as file:
            for example in only_examples(records, path):
                file.write(json.dumps(self._record(example), ensure_ascii=False) + "\n")

    def _record(self, example: Example) -> dict[str, Any]:
        note = note_of(example, NOTE)
        extras = Extras(note)
        form = note.get("form", self.form)
        known = ("form", "spans", "relations", "id")
        record: dict[str, Any] = {"id": note.get("id", example.id), "text": example.text}
        choices = example.notes.get(CHOICES, {})
        spans = all_spans(example, self.losses)
        if choices and not spans:
            field = form if form in _LABELS else "label"
            record[field] = [answer for chosen in choices.values() for answer in chosen]
            form = "none"
        elif choices:
            self.losses["label of the whole text"] += sum(map(len, choices.values()))
        if form == "none" and spans:
            form = self.form
        if form == "entities":
            record |= self._entities(example, spans, extras)
        elif form != "none":
            record[form] = [[*characters(example, span), span.label] for span in spans]
            self.losses['relation (form = "entities" has a place for it)'] += len(example.relations)
        photos = plain_photos(example, self.losses)
        if photos and not any(name in note for name in ("image", "images")):
            record["image"] = photos[0] if len(photos) == 1 else photos
        count_rest(example, self.losses, (NOTE, CHOICES), tokens=False)
        self.losses = +self.losses
        return record | {k: v for k, v in note.items() if k not in known}

    def _entities(self, example: Example, spans: list[Any], extras: Extras) -> dict[str, Any]:
        entities, ids = [], []
        told = [extras.of_span(span) for span in spans]
        free = max((e["id"] for e in told if isinstance(e.get("id"), int)), default=0)
        for span, extra in zip(spans, told, strict=True):
            if "id" not in extra:
                free += 1
                extra = {"id": free, **extra}
            start, end = characters(example, span)
            ids.append(extra["id"])
            entities.append({**extra, "label": span.label, "start_offset": start, "end_offset": end})
        relations = []
        for i, relation in enumerate(example.relations, 1):
            ends = {"from_id": ids[spans.index(relation.head)], "to_id": ids[spans.index(relation.tail)]}
            label = {} if relation.label is None else {"type": relation.label}
            relations.append({"id": i, **extras.of_relation(relation), **ends, **label})
        return {"entities": entities, "relations": relations}
