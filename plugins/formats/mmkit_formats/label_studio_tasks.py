"""`formats.label_studio.v1`, written: tasks that Label Studio imports, with annotations or with predictions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from mmkit import Entity, Example
from mmkit.data.types import SCORES
from mmkit.data.writer import Writer, only_examples
from mmkit.errors import DataError
from mmkit.files import atomic
from mmkit_formats.drafts import CHOICES, Extras, all_spans, characters, count_rest, note_of
from mmkit_formats.label_studio import LOCAL_FILES, NOTE
from mmkit_formats.media import is_address, plain_photos, quoted
from mmkit_formats.messages import wrong

_KNOWN = (NOTE, CHOICES, SCORES)


class LabelStudioWriter(Writer):
    """Writes a list of tasks that Label Studio imports; tasks that came from Label Studio get their own fields back.

    Annotations that a model made (the note `mmkit.scores`) become `predictions` with their scores, to be corrected.
    All others become `annotations`, also those without a span; with `annotated = false` these are tasks to annotate.
    The names must be those in the project's labelling interface: `text` and `image` are fields of the data and
    names of their tags, `labels` is the name of the `Labels` tag.

    Images become addresses of local files, `/data/local-files/?d=...`, relative to the folder `local_files`. This must
    be Label Studio's `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`; by default, it is the folder of the written file.
    """

    ending = ".json"

    def __init__(
        self,
        text: str = "text",
        image: str = "image",
        labels: str = "label",
        local_files: str | None = None,
        model_version: str = "mmkit",
        annotated: bool = True,
    ) -> None:
        super().__init__()
        self.text, self.image, self.labels = text, image, labels
        self.local_files, self.model_version, self.annotated = local_files, model_version, annotated

    def write(self, path: Path, records: Iterable[Example | Entity]) -> None:
        self.losses.clear()
        begun = False
        with atomic(path, error=DataError) as file:
            file.write("[")
            for example in only_examples(records, path):
                file.write(",\n" if begun else "\n")
                file.write(json.dumps(self._task(example, path.parent), ensure_ascii=False))
                begun = True
            file.write("\n]\n")

    def _task(self, example: Example, folder: Path) -> dict[str, Any]:
        note = note_of(example, NOTE)
        field = note.get("text", self.text)
        data = {field: example.text, **note.get("data", {})}
        if not note:
            data["id"] = example.id
        photos = plain_photos(example, self.losses)
        if photos and not note:
            addresses = [self._address(photo, folder, example.id) for photo in photos]
            data[self.image] = addresses[0] if len(addresses) == 1 else addresses
        count_rest(example, self.losses, _KNOWN, tokens=False)
        results = self._results(example, note)
        task = {**note.get("task", {}), "data": data}
        if SCORES in example.notes:
            found = [r["score"] for r in results if "score" in r]
            score = {"score": round(fmean(found), 6)} if found else {}
            task["predictions"] = [{"model_version": self.model_version, **score, "result": results}]
            return task
        is_one = "annotation" in note or bool(results) or (not note and self.annotated)
        annotations = [{**note.get("annotation", {}), "result": results}] if is_one else []
        if annotations or "others" in note or "task" in note:
            task["annotations"] = [*annotations, *note.get("others", ())]
        return task

    def _results(self, example: Example, note: dict[str, Any]) -> list[dict[str, Any]]:
        extras = Extras(note)
        scores = example.notes.get(SCORES, {})
        found: list[dict[str, Any]] = []
        ids: list[str] = []
        spans = all_spans(example, self.losses)
        for i, span in enumerate(spans):
            extra = extras.of_span(span)
            start, end = characters(example, span)
            labels = extra.pop("labels", [span.label])
            more = extra.pop("value", {})
            ids.append(extra.get("id") or f"s{i + 1}")
            value = {"start": start, "end": end, "text": example.text[start:end], "labels": labels, **more}
            names = {"from_name": self.labels, "to_name": note.get("text", self.text)}
            score = _score(scores.get("spans"), i, len(example.spans))
            found.append({"id": ids[-1], **names, "type": "labels", "value": value, **score, **extra})
        for i, relation in enumerate(example.relations):
            extra = extras.of_relation(relation)
            ends = [ids[spans.index(relation.head)], ids[spans.index(relation.tail)]]
            if extra.get("direction") == "left":
                ends.reverse()
            labels = extra.pop("labels", [] if relation.label is None else [relation.label])
            given = {"labels": labels} if labels else {}
            score = _score(scores.get("relations"), i, len(example.relations))
            joined = {"from_id": ends[0], "to_id": ends[1], "type": "relation", "direction": "right"}
            found.append({**joined, **given, **score, **extra})
        rest = note.get("results", [])
        told = {r.get("from_name") for r in rest if r.get("type") == "choices"}
        for name, chosen in example.notes.get(CHOICES, {}).items():
            if name not in told:
                names = {"from_name": name, "to_name": note.get("text", self.text)}
                found.append(
                    {"id": f"c{len(found) + 1}", **names, "type": "choices", "value": {"choices": chosen}}
                )
        return [*found, *rest]

    def _address(self, path: str, folder: Path, id: str) -> str:
        """A local file's address, or the web address itself."""
        if is_address(path):
            return path
        served = Path(self.local_files or folder).absolute()
        inside = os.path.relpath(os.path.abspath(os.path.join(folder, path)), served)  # noqa: PTH100, PTH118
        if inside.startswith(".."):
            raise wrong(
                f"the image {path} is not in {served}, and Label Studio serves files of only one folder",
                id,
                "set local_files to a folder that contains all images, and let Label Studio serve that folder",
                code="formats.outside",
            )
        return f"{LOCAL_FILES}?d={quoted(inside)}"


def _score(scores: Any, at: int, number: int) -> dict[str, float]:
    """The score of the result at an index, if each result has one."""
    return (
        {"score": scores[at]} if isinstance(scores, list) and at < len(scores) <= max(number, at + 1) else {}
    )
