"""`formats.label_studio.v1`: Label Studio's JSON export: labels of text, relations, choices and images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from mmkit import Image
from mmkit.data.alignment import CharSpan, Misaligned, Units
from mmkit.data.crops import under
from mmkit.data.inside import inside, leads_out
from mmkit.data.json_text import read_json
from mmkit.data.node import Node
from mmkit.data.reader import Guess
from mmkit_formats.drafts import Draft, FormatReader, Link, Mark
from mmkit_formats.media import Kept, is_address, located, looks_like_picture
from mmkit_formats.messages import first_record, looks_like, not_this_format, shown, wrong

NOTE = "formats.label_studio"
LOCAL_FILES = "/data/local-files/"
UPLOADS = "/data/upload/"
_VALUE = ("start", "end", "text", "labels")


class LabelStudioReader(FormatReader):
    """Reads the JSON that Label Studio exports ("JSON", not "JSON-MIN"): a list of tasks.

    `text` is the field of a task's `data` that holds the sentence, and `images` are those that hold images; by default,
    they are recognised. An image is a web address, an upload (`/data/upload/...`), looked for in the folders `uploads`,
    or a local file (`/data/local-files/?d=...`), relative to the folder `local_files`; all are relative to `root`.

    If a task has several annotations, the one marked as ground truth is read, or else the newest; with `annotator` (a
    number or an e-mail address) only that person's. Skipped annotations do not count. Tasks without an annotation are
    left out; with `unannotated = "keep"` they become sentences without spans. All of this is counted. Choices become
    the note `formats.choices`; what mmkit has no place for is kept in the note `formats.label_studio`.
    """

    note = NOTE
    pictures_in = "uploads"
    form = "the JSON that Label Studio exports: a list of tasks"
    kinds = frozenset({"label-studio"})

    def __init__(
        self,
        root: str,
        file: str,
        blank_images: bool = False,
        *,
        misaligned: Misaligned = "error",
        offsets: Units = "characters",
        text: str | None = None,
        images: list[str] | None = None,
        annotator: str | int | None = None,
        unannotated: str = "drop",
        uploads: list[str] | None = None,
        local_files: str = "",
    ) -> None:
        super().__init__(root, file, blank_images, misaligned=misaligned, offsets=offsets)
        if unannotated not in ("drop", "keep"):
            raise ValueError(f'unannotated is "drop" or "keep", not {unannotated!r}')
        self.text, self.images, self.annotator, self.unannotated = text, images, annotator, unannotated
        self.uploads = ["images", "upload", "media/upload", "."] if uploads is None else list(uploads)
        self.local_files = local_files

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        return Guess("tasks of Label Studio") if looks_like(first_record(head)) == "label-studio" else None

    def drafts(self) -> Iterator[Draft]:
        tasks = read_json(self.path, self.source, self.repairs)
        if not isinstance(tasks, list):
            not_this_format("this is not a list of tasks", self.path, "export the project as JSON", tasks)
        kept = Kept()
        for number, task in enumerate(tasks, 1):
            where = f"{self.path}, task {number}"
            if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                if isinstance(task, dict) and {"annotation_id", "annotator"} & task.keys():
                    raise wrong(
                        "this is the export JSON-MIN, which has no relations and no ids",
                        where,
                        "export the project as JSON",
                        code="formats.json-min",
                    )
                not_this_format("a task without `data`", where, "export the project as JSON", task)
            draft = self._draft(Node(task, where), number, kept)
            if draft is not None:
                yield draft

    def _draft(self, task: Node, number: int, kept: Kept) -> Draft | None:
        data = task["data"].object()
        annotation = self._annotation(task)
        if annotation is None and self.unannotated == "drop":
            self.repairs["task without an annotation left out"] += 1
            return None
        field = self._text_field(data, task.where)
        id = (
            data["id"]
            if isinstance(data.get("id"), str)
            else str(task.value.get("id", f"{self.path.stem}:{number}"))
        )
        draft = Draft(task.where, id, str(data[field]))
        draft.images = tuple(Image(path) for path in self._images(data, field, kept, task.where))
        extra: dict[str, Any] = {
            "task": {k: v for k, v in task.value.items() if k not in ("data", "annotations")},
            "data": {k: v for k, v in data.items() if k != field},
            "text": field,
        }
        if annotation is not None:
            results = annotation.list("result", lambda n: n)
            extra["annotation"] = {k: v for k, v in annotation.value.items() if k != "result"}
            extra["results"] = self._read_results(results, draft)
        others = task.value.get("annotations") or []
        if rest := [one for one in others if annotation is None or one is not annotation.value]:
            extra["others"] = rest
        draft.extra = {k: v for k, v in extra.items() if v or k == "annotation"}
        return draft

    def _annotation(self, task: Node) -> Node | None:
        """The annotation to read. If there are several, the choice is counted in `repairs`."""
        if "annotations" not in task.value and "completions" in task.value:
            not_this_format(
                "this is an export of Label Studio 0.x", task.where, "export it with a newer version"
            )
        given = [n for n in task.list("annotations", lambda n: n) if not n.object().get("was_cancelled")]
        if skipped := len(task.value.get("annotations") or ()) - len(given):
            self.repairs["annotation that its annotator skipped"] += skipped
        if self.annotator is not None:
            given = [n for n in given if str(self.annotator) in _names(n.value.get("completed_by"))]
        if len(given) < 2:
            return given[0] if given else None
        truth = [n for n in given if n.value.get("ground_truth")]
        chosen = max(
            truth or given, key=lambda n: str(n.value.get("updated_at") or n.value.get("created_at") or "")
        )
        which = "ground truth" if truth else "the newest"
        self.repairs[f"task with {len(given)} annotations, of which {which} is read"] += 1
        return chosen

    def _text_field(self, data: dict[str, Any], where: str) -> str:
        """The field that holds the sentence."""
        if self.text is not None or isinstance(data.get("text"), str):
            field = self.text or "text"
            if not isinstance(data.get(field), str):
                raise wrong(
                    f"`data.{field}` is not a text: {shown(data.get(field))}",
                    where,
                    f"the fields are {', '.join(data)}: name the one with the sentence as `text`",
                    code="formats.no-text",
                )
            return field
        texts = [k for k, v in data.items() if isinstance(v, str) and k != "id" and not _is_picture(v)]
        if len(texts) != 1:
            raise wrong(
                "it is not clear which field of `data` holds the sentence",
                where,
                f"the fields are {', '.join(data) or 'none'}: name the one with the sentence as `text`",
                code="formats.no-text",
            )
        return texts[0]

    def _images(self, data: dict[str, Any], text: str, kept: Kept, where: str) -> Iterator[str]:
        """The files of a task's images, each once."""
        fields = (
            self.images
            if self.images is not None
            else [k for k, v in data.items() if k != text and _has_pictures(v)]
        )
        addresses = [
            a for k in fields for a in ([data[k]] if isinstance(data.get(k), str) else data.get(k) or ())
        ]
        for address in dict.fromkeys(addresses):
            if not isinstance(address, str):
                raise wrong(
                    f"an image is {shown(address)}",
                    where,
                    "an image is a path or an address",
                    code="formats.no-picture",
                )
            yield (None if self.blank_images else kept.of_data_address(address, where)) or self._file(
                address, where
            )

    def _file(self, address: str, where: str) -> str:
        """The file that an address names, or the most probable place of a missing file.

        Raises `DataError` for a path that leads out of the folder `local_files`, which Label Studio would not serve.
        """
        path = urlsplit(address).path if is_address(address) else address.partition("?")[0]
        if path.rstrip("/").endswith(LOCAL_FILES.rstrip("/")):
            name = parse_qs(urlsplit(address).query).get("d", [""])[0]
            folder = under(self.root, self.local_files)
            file = inside(folder, name)
            if file is None:
                raise leads_out(
                    f"the local file {name!r} leads out of the folder {folder}",
                    where,
                    "local_files",
                    code="data.leads-out",
                )
            return file
        if UPLOADS in path:
            name = unquote(path.partition(UPLOADS)[2])
            if inside("", name) is None:
                raise leads_out(
                    f"the upload {name!r} leads out of the folders of uploads",
                    where,
                    "uploads",
                    code="data.leads-out",
                )
            folders = [*self.uploads, *(f"{f}/{name.rpartition('/')[0]}" for f in self.uploads)]
            return located(name, self.root, folders)
        return located(address, self.root, self.uploads if is_address(address) else ())

    def _read_results(self, results: Sequence[Node], draft: Draft) -> list[Any]:
        """Puts spans, relations and choices into the draft; returns the results that are neither."""
        places: dict[str, int] = {}
        rest: list[Any] = []
        choices: dict[str, list[str]] = {}
        for n in results:
            kind = n.object().get("type")
            if kind == "labels" or (kind is None and "labels" in n.value.get("value", {})):
                places[n.value.get("id", "")] = len(draft.marks)
                draft.marks.append(_mark(n))
                continue
            if kind == "choices":
                name = str(n.value.get("from_name", "choice"))
                choices[name] = [*choices.get(name, ()), *n["value"]["choices"].strings()]
            elif kind != "relation":
                self.repairs[f"result of the type {kind!r} kept in a note"] += 1
            if kind != "relation":
                rest.append(n.value)
        for n in results:
            if n.value.get("type") != "relation":
                continue
            ends = [n["from_id"].text(), n["to_id"].text()]
            if missing := [end for end in ends if end not in places]:
                raise wrong(
                    f"`{n.name}` joins the region {missing[0]!r}, which is not a label of the text",
                    n.where,
                    "export the task with all its regions",
                    code="formats.no-such-span",
                )
            labels = list(n["labels"].strings()) if n.value.get("labels") else []
            if len(labels) > 1:
                self.repairs["relation with several labels: only the first is read"] += 1
            more = {k: v for k, v in n.value.items() if k not in ("from_id", "to_id", "labels", "type")}
            more |= {"labels": labels} if len(labels) > 1 else {}
            head, tail = (places[end] for end in ends)
            if n.value.get("direction") == "left":
                head, tail = tail, head
            draft.links.append(Link(head, tail, labels[0] if labels else None, more))
        draft.choices = choices
        return rest


def _mark(n: Node) -> Mark:
    """A labelled part of the text."""
    value = n["value"]
    place = value.object()
    if isinstance(place.get("globalOffsets"), dict):  # hypertext: its own offsets count within its elements
        start, end = (value["globalOffsets"][key].count() for key in ("start", "end"))
    else:
        start, end = value["start"].count(), value["end"].count()
    labels = value["labels"].strings()
    if not labels:
        raise wrong(
            f"`{n.name}` has no label",
            n.where,
            "give the region a label, or delete it",
            code="formats.no-label",
        )
    words = place.get("text") if isinstance(place.get("text"), str) else None
    extra = {k: v for k, v in n.value.items() if k not in ("value", "type")}
    extra |= {"labels": list(labels)} if len(labels) > 1 else {}
    if more := {k: v for k, v in place.items() if k not in _VALUE}:
        extra["value"] = more
    return Mark(
        CharSpan(start, end, labels[0], n.name, words.replace("\\n", "\n") if words else words), extra
    )


def _names(person: Any) -> set[str]:
    """The names by which an annotator is known."""
    if isinstance(person, dict):
        return {str(person[key]) for key in ("id", "email", "username") if key in person}
    return {str(person)}


def _is_picture(value: str) -> bool:
    return looks_like_picture(value) or value.startswith((UPLOADS, LOCAL_FILES))


def _has_pictures(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(v, str) and _is_picture(v) for v in value)
    return isinstance(value, str) and _is_picture(value)
