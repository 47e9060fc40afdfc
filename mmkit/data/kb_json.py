"""`mmkit.kb_json.v1`: a knowledge base as a JSON map of entity texts, as DWE's and DIM's authors publish them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mmkit.data.crops import blanked, under
from mmkit.data.entity_fields import EntityFields
from mmkit.data.file_kinds import looks_like
from mmkit.data.image_paths import Photos
from mmkit.data.json_text import read_json
from mmkit.data.mel import AUTHORS
from mmkit.data.melbench import links
from mmkit.data.problems import Place
from mmkit.data.reader import Guess, Reader
from mmkit.data.records import Node
from mmkit.data.types import Entity, Image
from mmkit.errors import DataError

PREFIX_END = "[SEP]. "
"""The separator between an entity's name and its text in the authors' files; the last one counts."""

NO_TEXT = ("", "None")
"""Texts that mean "no text" in the authors' files."""


class _Entry(NamedTuple):
    id: str
    name: str
    text: str
    where: str


class KbJsonReader(Reader):
    """Reads a JSON object of id → text, or a list of `{"id", "name", "description"}` (WIKIPerson's).

    The values of the object may be such records too, without `id`. `fields` says what the fields of records are called
    in the file: `{"id": "qid", "name": "entity_name"}`, for example. Records that call them otherwise are an error;
    fields that mean something else are counted.
    A text such as "Fred Conway [SEP]. American politician" is a name and a description; texts that are null, empty
    or "None" are counted. Further files, all paths relative to `root`:

    - `names`: id → name, or name → id (DWE's `ne2qid.json`, where further names become aliases), or a MELBench
      dataset, whose titles are used. It has priority over a name in the text. If no name is given, the id is the
      name, with spaces for `_`; this is counted.
    - `aliases`: id → a list of aliases.
    - `images`: a folder with a photo `<id>.jpg` of each entity.
    """

    form: ClassVar[str] = "a JSON object of texts by id, or a list of entities"
    kinds: ClassVar[frozenset[str]] = frozenset({"kb-json", "unknown"})
    pictures_in: ClassVar[str] = "images"

    source: ClassVar[str] = f"DWE's authors publish their entity texts at {AUTHORS}"

    def __init__(
        self,
        root: str,
        file: str,
        *,
        names: str | None = None,
        aliases: str | None = None,
        images: str | None = None,
        fields: dict[str, str] | None = None,
        blank_images: bool = False,
    ) -> None:
        super().__init__(root, file, blank_images)
        self.names, self.aliases, self.images = names, aliases, images
        self.fields = EntityFields(fields or {}, named=names is not None)

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """A map of texts or a list of entities; fields of other names must be said, so they are not recognized."""
        looks = looks_like(path) if head else None
        return Guess(looks.what) if looks is not None and looks.kind == "kb-json" else None

    def files(self) -> list[Path]:
        return [
            self.path,
            *(Path(self.root) / file for file in (self.names, self.aliases) if file is not None),
        ]

    def __iter__(self) -> Iterator[Entity]:
        self.repairs.clear()
        entries = self._entries()
        known = {entry.id for entry in entries}
        names = self._names(known) if self.names is not None else {}
        aliases = self._aliases() if self.aliases is not None else {}
        for listed, kind in ((names, "name"), (aliases, "alias list")):
            if strangers := len(listed.keys() - known):
                self.repairs[f"{kind} of no entity in the file, left out"] += strangers
        for entry in entries:
            self.place = Place(entry.where)
            yield self._entity(entry, names.get(entry.id, []), aliases.get(entry.id, []))

    def _entity(self, entry: _Entry, names: list[str], aliases: list[str]) -> Entity:
        told = [name for name in names or [entry.name] if name]
        if not told:
            self.repairs["entity without a name, so named by its id"] += 1
        if not entry.text:
            self.repairs["entity without a text"] += 1
        name, *others = told or [entry.id.replace("_", " ")]
        others = [alias for alias in dict.fromkeys([*others, *aliases]) if alias and alias != name]
        images: tuple[Image, ...] = ()
        if self.images is not None:
            photos = Photos(under(self.root, self.images), self.repairs)
            images = (Image(photos.path(entry.id, str(self.path))),)
        entity = Entity(entry.id, name, tuple(others), entry.text, images)
        return blanked(entity) if self.blank_images else entity

    def _entries(self) -> list[_Entry]:
        value = self._read(self.file)
        if isinstance(value.value, list):
            told: Iterable[tuple[str | None, Node]] = (
                (None, Node(item.value, f"{self.path}, record {i}")) for i, item in enumerate(value.items())
            )
        else:
            told = ((id, Node(item, f"{self.path}, record {id!r}")) for id, item in value.object().items())
        entries = []
        self.place = None
        for id, node in told:
            try:
                entries.append(self._entry(node, id))
            except DataError as error:
                self.refuse(error)
            else:
                self.place = Place(node.where)
        return entries

    def _entry(self, node: Node, id: str | None) -> _Entry:
        if id is None or isinstance(node.value, dict):
            return self._record(node, id)
        return _mapped(id, Node(node.value, node.where, id))

    def _record(self, node: Node, id: str | None) -> _Entry:
        """An entity told by named fields; `id` is given where the record lacks it."""
        node.object()
        called = self.fields.of(node, id is None, self.repairs)
        name = node.optional(called["name"], Node.text) or ""
        text = node.optional(called["description"], Node.text) or ""
        return _Entry(node[called["id"]].text() if id is None else id, name, _text(text), node.where)

    def _names(self, known: set[str]) -> dict[str, list[str]]:
        """Names by id, from a file in any of the three forms."""
        value = self._read(self.names or "")
        names: dict[str, list[str]] = {}
        for id, name in _told_names(value, known):
            if name and name not in names.setdefault(id, []):
                names[id].append(name)
        return names

    def _aliases(self) -> dict[str, list[str]]:
        value = self._read(self.aliases or "")
        return {id: list(Node(names, value.where, id).strings()) for id, names in value.object().items()}

    def _read(self, file: str) -> Node:
        path = Path(self.root) / file
        return Node(read_json(path, self.source, self.repairs), str(path), "file")

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.mel import kb_json_sample

        return kb_json_sample(folder, seed)


def _mapped(id: str, node: Node) -> _Entry:
    """An item of a map of texts; the text may begin with the entity's name."""
    name, _, text = ("" if node.value is None else node.text()).rpartition(PREFIX_END)
    return _Entry(id, name.strip(), _text(text), node.where)


def _text(text: str) -> str:
    return "" if text.strip() in NO_TEXT else text.strip()


def _told_names(value: Node, known: set[str]) -> list[tuple[str, str]]:
    """(id, name) pairs of a names file; in a map of strings, the ids are on the side that has more of `known`."""
    if all(isinstance(record, dict) for record in value.object().values()):
        records = (Node(record, f"{value.where}, record {key!r}") for key, record in value.value.items())
        return [(link.answer, link.title) for record in records for link in links(record)]
    pairs = [(key, Node(name, value.where, key).text()) for key, name in value.value.items()]
    if sum(name in known for _, name in pairs) > sum(key in known for key, _ in pairs):
        return [(id, name) for name, id in pairs]
    return pairs
