"""`mmkit.jsonl.v1`: examples or entities in canonical jsonlines (see `mmkit.data.jsonlines`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from mmkit.data.alignment import Aligner, Misaligned, Units
from mmkit.data.bounds import Bounds, in_characters
from mmkit.data.crops import blanked, found
from mmkit.data.file_kinds import looks_like
from mmkit.data.jsonlines import FORMAT, Kind, Record, check_header, located_examples, read_jsonl, write_jsonl
from mmkit.data.problems import Place
from mmkit.data.reader import Guess, Reader
from mmkit.data.records import entity_from_json, example_from_json, prediction_from_json, to_json
from mmkit.data.types import Entity, Example, Prediction
from mmkit.errors import DataError

__all__ = [
    "FORMAT",
    "JsonlReader",
    "Kind",
    "Record",
    "check_header",
    "entity_from_json",
    "example_from_json",
    "prediction_from_json",
    "read_jsonl",
    "to_json",
    "write_jsonl",
]


class JsonlReader(Reader):
    """Reads examples or entities from jsonlines, the format for your own data.

    Relative image paths are relative to `root`. A record needs only `text` (or `tokens`), and
    `images` may be a list of paths: `{"text": "Jordan scores again", "images": ["photos/1.jpg"]}`. A file of examples
    needs no header line. The output of `mmkit predict --output` is read too, as examples with the note `mmkit.scores`.

    Spans count tokens (`start`, `end`) or characters (`start_char`, `end_char`); ends are exclusive. `misaligned` says
    what happens to a span that begins or ends inside a token: "error" stops, "expand" makes it wider (whole tokens),
    "drop" leaves it out, and "split" cuts the token in two. `offsets` says what offsets count: "characters", "utf-16"
    or "bytes". `bounds = "characters"` says that `start` and `end` count characters too; "tokens" says that they do
    not. Without it they count tokens, and if those of a whole file could be characters as well, that is counted.
    """

    form: ClassVar[str] = (
        'jsonlines: a header line such as {"format": 2, "kind": "examples"}, then a JSON object a line'
    )
    kinds: ClassVar[frozenset[str]] = frozenset(
        {"jsonl-examples", "posts-lines", "jsonl-entities", "jsonl-predictions"}
    )

    unique: ClassVar[bool] = True
    """Whether an id that occurs twice is refused; all ids of the file are in memory for that."""

    def __init__(
        self,
        root: str,
        file: str,
        blank_images: bool = False,
        *,
        misaligned: Misaligned = "error",
        offsets: Units = "characters",
        bounds: Bounds | None = None,
    ) -> None:
        super().__init__(root, file, blank_images)
        self.misaligned, self.offsets, self.bounds = misaligned, offsets, bounds

    def __iter__(self) -> Iterator[Example] | Iterator[Entity]:
        self.repairs.clear()
        seen: set[str] = set()
        aligner = Aligner(self.misaligned, self.offsets, self.repairs, self.bounds)
        for where, x in self._located(aligner):
            if isinstance(x, Prediction):
                raise DataError(
                    "the file holds predictions, not examples", where=self.path, code="file.wrong-kind"
                )
            if self.unique and x.id in seen:
                twice, hint = f"the id {x.id!r} occurs twice", "give each record an id of its own"
                self.refuse(DataError(twice, where=where, hint=hint, code="data.duplicate-id"))
                continue
            if self.unique:
                seen.add(x.id)
            if isinstance(x, Example) and not x.tokens and x.mention is None and x.entity is None:
                self.refuse(
                    DataError(
                        "an empty sentence",
                        where=where,
                        hint="remove the line or give it some text",
                        code="data.empty-sentence",
                    )
                )
                continue
            self.place = Place(where)
            yield blanked(x) if self.blank_images else found(x, self.repairs)
        aligner.doubt.tell(self.repairs)

    def _located(self, aligner: Aligner) -> Iterator[tuple[str, Record]]:
        """("file:line", record) of each line that is read."""
        return located_examples(self.path, self.root, aligner, self.refuse)

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """Examples with or without the header line; entities are read by `mmkit.kb_jsonl.v1`."""
        looks = looks_like(path) if head else None
        if looks is None or looks.kind not in ("jsonl-examples", "posts-lines"):
            return None
        settings = {"bounds": "characters"} if in_characters(head) else {}
        return Guess(looks.what, settings, sure=looks.kind == "jsonl-examples")

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.mner_jsonl import jsonl_sample

        return jsonl_sample(folder, seed)
