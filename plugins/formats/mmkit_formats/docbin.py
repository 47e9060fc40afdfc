"""`formats.spacy.v1`: spaCy's binary training data (`DocBin`, `.spacy` files)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmkit import Entity, Example, Image
from mmkit.data.alignment import CharSpan, Misaligned, Units, Words
from mmkit.data.reader import Guess
from mmkit.data.writer import Writer, only_examples
from mmkit.errors import DataError
from mmkit.files import replacing
from mmkit_formats.drafts import CHOICES, Draft, FormatReader, Mark, count_rest
from mmkit_formats.media import located, plain_photos
from mmkit_formats.messages import wrong

NOTE = "formats.spacy"
KEPT = "mmkit"
"""The key in a document's `user_data` for what spaCy has no place for."""


class DocBinReader(FormatReader):
    """Reads a `DocBin`: each document is a sentence with its entities (or those of the span group `spans_key`).

    Tokens are spaCy's, without those that are white space. Categories with a score of 0.5 or more become the note
    `formats.choices`.
    Needs spaCy: `pip install "mmkit-formats[spacy]"`; no model is loaded.
    """

    note = NOTE
    form = "a `.spacy` file, which DocBin.to_disk writes"
    kinds = frozenset({"docbin"})
    symptoms = frozenset({"formats.docbin"})

    def __init__(
        self,
        root: str,
        file: str,
        blank_images: bool = False,
        *,
        misaligned: Misaligned = "error",
        offsets: Units = "characters",
        spans_key: str | None = None,
    ) -> None:
        super().__init__(root, file, blank_images, misaligned=misaligned, offsets=offsets)
        self.spans_key = spans_key

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        return Guess("documents of spaCy (DocBin)") if head and path.suffix == ".spacy" else None

    def drafts(self) -> Iterator[Draft]:
        if not self.path.is_file():
            raise DataError("no such data file", where=self.path, code="file.missing")
        spacy = _spacy(self.path)
        vocab = spacy.blank("xx").vocab
        try:
            docs = list(spacy.tokens.DocBin(store_user_data=True).from_disk(self.path).get_docs(vocab))
        except Exception as error:  # zlib, msgpack and spaCy each have errors of their own
            raise wrong(
                f"this DocBin cannot be read: {type(error).__name__}: {error}",
                self.path,
                "write it with DocBin.to_disk, or `spacy convert`",
                code="formats.docbin",
            ) from None
        for number, doc in enumerate(docs, 1):
            yield self._draft(doc, f"{self.path}, document {number}", f"{self.path.stem}:{number}")

    def _draft(self, doc: Any, where: str, id: str) -> Draft:
        kept = doc.user_data.get(KEPT, {})
        draft = Draft(where, str(kept.get("id", id)), doc.text)
        tokens = [t for t in doc if not t.is_space]
        draft.words = Words(tuple(t.text for t in tokens), tuple((t.idx, t.idx + len(t)) for t in tokens))
        if self.spans_key is not None and self.spans_key not in doc.spans:
            raise wrong(
                f"there is no span group {self.spans_key!r}",
                where,
                f"there are {', '.join(doc.spans) or 'none'}",
                code="formats.span-group",
            )
        spans = (
            doc.ents
            if self.spans_key is None and not kept.get("spans_key")
            else doc.spans[self.spans_key or kept["spans_key"]]
        )
        for i, span in enumerate(spans):
            bounds = (span.start_char, span.end_char)
            draft.marks.append(Mark(CharSpan(*bounds, span.label_, f"entity {i + 1}"), _ids(span)))
        draft.choices = (
            {"cats": [name for name, value in doc.cats.items() if value >= 0.5]} if doc.cats else {}
        )
        if doc.cats:
            draft.extra = {"cats": dict(doc.cats)}
        draft.images = tuple(Image(located(path, self.root)) for path in kept.get("images", ()))
        other = {
            k: spans for k, spans in doc.spans.items() if k not in (self.spans_key, kept.get("spans_key"))
        }
        if other:
            self.repairs["span group that is not read"] += len(other)
        if left := [key for key in doc.user_data if key != KEPT]:
            self.repairs["entry of user_data that is not read"] += len(left)
        return draft


class DocBinWriter(Writer):
    """Writes a `DocBin` of documents with entities, for `spacy train`.

    Overlapping spans go into the span group `spans_key` instead, as spaCy's span categorizer wants them. Ids and paths
    of images are put into the documents' `user_data`.
    """

    ending = ".spacy"

    def __init__(self, spans_key: str = "sc") -> None:
        super().__init__()
        self.spans_key = spans_key

    def write(self, path: Path, records: Iterable[Example | Entity]) -> None:
        self.losses.clear()
        spacy = _spacy(path)
        vocab = spacy.blank("xx").vocab
        found = spacy.tokens.DocBin(store_user_data=True)
        for example in only_examples(records, path):
            found.add(self._doc(spacy, vocab, example))
        with replacing(path, DataError) as temporary:
            temporary.write_bytes(found.to_bytes())

    def _doc(self, spacy: Any, vocab: Any, example: Example) -> Any:
        words, spaces, places = _laid_out(example)
        doc = spacy.tokens.Doc(vocab, words=words, spaces=spaces)
        kept: dict[str, Any] = {"id": example.id}
        ids = {tuple(key): extra for *key, extra in example.notes.get(NOTE, {}).get("spans", ())}
        spans = []
        for span in example.spans:
            extra = ids.get((span.start, span.end, span.label), {})
            bounds = places[span.start], places[span.end - 1] + 1
            spans.append(spacy.tokens.Span(doc, *bounds, label=span.label, **extra))
        taken = [token for s in spans for token in range(s.start, s.end)]
        if len(set(taken)) < len(taken):
            doc.spans[self.spans_key] = spans
            kept["spans_key"] = self.spans_key
        else:
            doc.ents = spans
        note = example.notes.get(NOTE, {})
        for name in example.notes.get(CHOICES, {}).keys() - {"cats"}:
            self.losses[f"name of the choice {name!r}"] += 1
        for name in (answer for chosen in example.notes.get(CHOICES, {}).values() for answer in chosen):
            doc.cats[name] = 1.0
        doc.cats |= note.get("cats", {})
        if photos := plain_photos(example, self.losses):
            kept["images"] = photos
        if example.relations:
            self.losses["relation"] += len(example.relations)
        count_rest(example, self.losses, (NOTE, CHOICES))
        doc.user_data[KEPT] = kept
        return doc


def _laid_out(example: Example) -> tuple[list[str], list[bool], list[int]]:
    """Words, whether a space follows each, and the index of each token: spaCy's tokens cover the whole text."""
    words: list[str] = []
    spaces: list[bool] = []
    places: list[int] = []
    at = 0
    for token, (start, end) in zip(example.tokens, example.offsets, strict=True):
        if start < at or not token or example.text[start:end] != token:
            raise wrong(
                f"the token {token!r} is not in the text in this form; spaCy's tokens must be",
                example.id,
                "use the words of the text as tokens",
                code="formats.token",
            )
        _gap(example.text[at:start], words, spaces)
        places.append(len(words))
        words.append(token)
        spaces.append(False)
        at = end
    _gap(example.text[at:], words, spaces)
    return words, spaces, places


def _gap(gap: str, words: list[str], spaces: list[bool]) -> None:
    """What is between tokens: one space belongs to the token before it; everything else becomes a token."""
    if gap.startswith(" ") and words:
        spaces[-1] = True
        gap = gap[1:]
    if gap:
        words.append(gap)
        spaces.append(False)


def _ids(span: Any) -> dict[str, str]:
    return {k: v for k, v in (("kb_id", span.kb_id_), ("span_id", span.id_)) if v}


def _spacy(path: Path) -> Any:
    try:
        import spacy
        import spacy.tokens
    except ImportError:
        raise wrong(
            "spaCy's files need spaCy", path, 'pip install "mmkit-formats[spacy]"', code="formats.no-spacy"
        ) from None
    return spacy
