"""`formats.prodigy.v1`: the JSONL of Prodigy (`prodigy db-out`): spans, relations, tokens, choices and images."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmkit import Entity, Example, Image, Relation, Span
from mmkit.data.alignment import CharSpan, Misaligned, Units, Words
from mmkit.data.node import Node
from mmkit.data.reader import Guess
from mmkit.data.writer import Writer, only_examples
from mmkit.errors import DataError
from mmkit.files import atomic
from mmkit_formats.drafts import (
    CHOICES,
    OF_RELATION,
    Draft,
    Extras,
    FormatReader,
    Link,
    Mark,
    characters,
    count_rest,
    note_of,
)
from mmkit_formats.media import Kept, content, located, plain_photos
from mmkit_formats.messages import first_record, looks_like, not_this_format, wrong

NOTE = "formats.prodigy"
_READ = ("text", "spans", "tokens", "relations", "accept")
_OF_POSTS = frozenset({"id", "text", "spans"})
"""Fields that mmkit's own records have too: with these alone, nothing says that a file is Prodigy's."""
_SPAN = ("start", "end", "token_start", "token_end", "label")
_RELATION = ("head_span", "child_span", "label")


class ProdigyReader(FormatReader):
    """Reads what `prodigy db-out` writes: a task a line, with `text`, and maybe `spans`, `tokens` and `relations`.

    Only tasks with one of `answers` are read; others are left out and counted. Prodigy's own `tokens` are taken where
    they are given. `image` is a path, a web address or the image itself as base64, which is put into the folder
    `pictures` (by default, mmkit's cache). `accept`, the chosen options, becomes the note `formats.choices`. All other
    fields, among them areas marked in an image, are kept in the note `formats.prodigy`.
    """

    note = NOTE
    form = "the JSONL that `prodigy db-out` writes: a task with `text` a line"
    kinds = frozenset({"prodigy", "posts", "posts-lines"})

    def __init__(
        self,
        root: str,
        file: str,
        blank_images: bool = False,
        *,
        misaligned: Misaligned = "error",
        offsets: Units = "characters",
        answers: list[str] | None = None,
        pictures: str | None = None,
    ) -> None:
        super().__init__(root, file, blank_images, misaligned=misaligned, offsets=offsets)
        self.answers = ["accept"] if answers is None else list(answers)
        self.pictures = pictures

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        record = first_record(head)
        if looks_like(record) != "prodigy" or record.keys() <= _OF_POSTS:
            return None
        return Guess("tasks of Prodigy")

    def drafts(self) -> Iterator[Draft]:
        kept = Kept(self.pictures)
        for record, where, id in self.json_lines():
            if looks_like(record) not in ("prodigy", ""):
                not_this_format("this line is not a task of Prodigy's", where, "", record)
            if not isinstance(record, dict) or not isinstance(record.get("text"), str):
                not_this_format("a task without a `text`", where, "mmkit reads tasks with a sentence", record)
            answer = record.get("answer", "accept")
            if answer not in self.answers:
                self.repairs[f"task with the answer {answer!r} left out"] += 1
                continue
            yield self._draft(Node(record, where), id, kept)

    def _draft(self, node: Node, id: str, kept: Kept) -> Draft:
        record = node.object()
        draft = Draft(node.where, id, node["text"].text())
        extra = {k: v for k, v in record.items() if k not in _READ}
        if "id" in record:
            draft.id = str(record["id"])
            if isinstance(record["id"], str):
                del extra["id"]
        if isinstance(record.get("image"), str) and not self.blank_images:
            held = kept.of_data_address(record["image"], node.where)
            draft.images = (Image(held or located(record["image"], self.root)),)
        elif isinstance(record.get("image"), str):
            draft.images = (Image(None),)
        self._read_tokens(node, draft, extra)
        drawn = []
        for n in node.list("spans", lambda n: n):
            if "start" not in n.object():
                drawn.append(n.value)
                continue
            draft.marks.append(
                Mark(self._span(n, "label"), {k: v for k, v in n.value.items() if k not in _SPAN})
            )
        if drawn:
            extra["drawn"] = drawn
        if "spans" in record:
            extra["has"] = ["spans"]
        if "relations" in record:
            extra["has"] = [*extra.get("has", ()), "relations"]
            for n in node.list("relations", lambda n: n):
                self._read_relation(n, draft)
        chosen = node.list("accept", lambda n: n.value)
        if chosen and all(isinstance(answer, str) for answer in chosen):
            draft.choices = {"accept": list(chosen)}
        elif "accept" in record:
            extra["accept"] = record["accept"]
        draft.extra = extra
        return draft

    def _read_tokens(self, node: Node, draft: Draft, extra: dict[str, Any]) -> None:
        tokens = node.list("tokens", lambda n: n)
        if not tokens:
            return
        bounds, more, words = [], [], []
        for i, n in enumerate(tokens):
            n.object()
            start, end, text = n["start"].count(), n["end"].count(), n["text"].text()
            if draft.text[start:end] != text:
                raise wrong(
                    f"`{n.name}` says {text[:40]!r}, but characters {start} to {end} are "
                    f"{draft.text[start:end][:40]!r}",
                    node.where,
                    "the offsets do not count characters, or they belong to another version of the text",
                    code="formats.tokens",
                )
            if not text.strip():  # spaCy's tokens of white space
                extra["white"] = True
            else:
                bounds.append((start, end))
                words.append(text)
            left = {k: v for k, v in n.value.items() if k not in ("text", "start", "end")}
            more.append(left if left != {"id": i, "ws": draft.text[end : end + 1] == " "} else None)
        if extra.get("white"):
            extra["tokens"] = node.value["tokens"]
        elif any(more):
            extra["tokens_more"] = more
        extra["tokenized"] = True
        draft.words = Words(tuple(words), tuple(bounds))

    def _span(self, n: Node, label: str) -> CharSpan:
        start, end = n["start"].count(), n["end"].count()
        return CharSpan(start, end, n.optional(label, Node.text) or "", n.name)

    def _read_relation(self, n: Node, draft: Draft) -> None:
        """A relation between spans, or between tokens if it names only tokens."""
        n.object()
        ends = []
        for key, token in (("head_span", "head"), ("child_span", "child")):
            told = self._span(n[key], "label") if key in n.value else self._token(n[token], draft)
            same = (m.span.start == told.start and m.span.end == told.end for m in draft.marks)
            place = next((i for i, is_it in enumerate(same) if is_it), None)
            if place is None:
                place = len(draft.marks)
                draft.marks.append(Mark(told, {OF_RELATION: True}))
            ends.append(place)
        more = {k: v for k, v in n.value.items() if k not in _RELATION}
        draft.links.append(Link(ends[0], ends[1], n.optional("label", Node.text), more))

    def _token(self, n: Node, draft: Draft) -> CharSpan:
        """The span that holds a token, or the token itself."""
        at = n.count()
        if draft.words is None or at >= len(draft.words.tokens):
            n.fail("the number of one of `tokens`")
        start, end = draft.words.offsets[at]
        for mark in draft.marks:
            if mark.span.start <= start and end <= mark.span.end:
                return mark.span
        return CharSpan(start, end, "", n.name)


class ProdigyWriter(Writer):
    """Writes tasks for Prodigy: `text`, `tokens`, `spans` and, if there are any, `relations`.

    Give them to a recipe such as `ner.manual`, or set `answer` ("accept") and import them with `prodigy db-in`. A photo
    becomes `image`: its path, or with `embed = true` the image itself as base64, as browsers show it.
    """

    ending = ".jsonl"

    def __init__(self, answer: str | None = None, embed: bool = False) -> None:
        super().__init__()
        self.answer, self.embed = answer, embed
        self.copies_images = embed

    def write(self, path: Path, records: Iterable[Example | Entity]) -> None:
        self.losses.clear()
        with atomic(path, error=DataError) as file:
            for example in only_examples(records, path):
                file.write(json.dumps(self._task(example, str(path.parent)), ensure_ascii=False) + "\n")

    def _task(self, example: Example, folder: str) -> dict[str, Any]:
        note = note_of(example, NOTE)
        extras = Extras(note)
        inner = ("spans", "relations", "drawn", "has", "tokens", "tokens_more", "tokenized", "white", "id")
        task: dict[str, Any] = {} if "_input_hash" in note else {"id": note.get("id", example.id)}
        task["text"] = example.text
        if note.get("tokenized", not note):
            task["tokens"] = note.get("tokens") or self._tokens(example, note.get("tokens_more"))
        has = note.get("has", [] if note else ["spans"])
        spans = []
        for span in example.spans:
            extra = extras.of_span(span)
            if not extra.pop(OF_RELATION, False):
                spans.append(
                    {**self._bounds(example, span, bool(task.get("tokens"))), **_labelled(span), **extra}
                )
        if spans or note.get("drawn") or "spans" in has:
            task["spans"] = [*spans, *note.get("drawn", ())]
        if example.relations or "relations" in has:
            task["relations"] = [self._relation(example, r, extras.of_relation(r)) for r in example.relations]
        for name, chosen in example.notes.get(CHOICES, {}).items():
            task["accept"] = [*task.get("accept", ()), *chosen]
            if name != "accept":
                self.losses[f"name of the choice {name!r}"] += 1
        photos = plain_photos(example, self.losses)
        if photos and "image" not in note:
            task["image"] = self._picture(photos[0], folder, example.id) if self.embed else photos[0]
            if len(photos) > 1:
                self.losses["further photo"] += len(photos) - 1
        count_rest(example, self.losses, (NOTE, CHOICES))
        if self.answer is not None:
            task["answer"] = self.answer
        return task | {k: v for k, v in note.items() if k not in inner}

    def _tokens(self, example: Example, more: list[Any] | None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for i, (token, (start, end)) in enumerate(zip(example.tokens, example.offsets, strict=True)):
            told = more[i] if more and len(more) == len(example.tokens) else None
            rest = {"id": i, "ws": example.text[end : end + 1] == " "} if told is None else told
            found.append({"text": token, "start": start, "end": end, **rest})
        return found

    def _bounds(self, example: Example, span: Span, tokens: bool) -> dict[str, int]:
        start, end = characters(example, span)
        in_tokens = {"token_start": span.start, "token_end": span.end - 1} if tokens else {}
        return {"start": start, "end": end, **in_tokens}

    def _relation(self, example: Example, relation: Relation, extra: dict[str, Any]) -> dict[str, Any]:
        ends = {
            name: {**self._bounds(example, span, True), **_labelled(span)}
            for name, span in (("head_span", relation.head), ("child_span", relation.tail))
        }
        places = {"head": relation.head.end - 1, "child": relation.tail.end - 1}
        label = {} if relation.label is None else {"label": relation.label}
        return {**places, **ends, **label, **extra}

    def _picture(self, path: str, folder: str, id: str) -> str:
        data = content(Image(path), folder, id)
        kind = {b"\x89P": "png", b"GI": "gif", b"RI": "webp"}.get(data[:2], "jpeg")
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _labelled(span: Span) -> dict[str, str]:
    return {"label": span.label} if span.label else {}
