"""What other people call the fields of posts: for messages about a file whose fields have other names."""

from __future__ import annotations

import json
from collections.abc import Iterable

NAMES = {
    "text": ("sentence", "tweet", "caption", "post", "content", "body", "txt"),
    "tokens": ("words", "token"),
    "spans": ("entities", "labels", "label", "annotations", "ents", "ner"),
    "images": ("image", "img", "imgs", "photo", "photos", "picture", "pictures", "image_path", "img_path"),
    "relations": ("relation", "rels", "links"),
    "id": ("_id", "uid", "doc_id", "post_id", "tweet_id"),
}
"""A field of jsonlines → what it may be called elsewhere, in lower case."""


OF_SPANS = {
    "label": ("type", "tag", "category", "class", "entity", "entity_type", "entity_group", "ner"),
    "start_char": ("start_offset", "begin", "from", "startoffset", "offset", "char_start"),
    "end_char": ("end_offset", "to", "stop", "endoffset", "char_end"),
    "text": ("word", "words", "surface", "value", "name", "mention"),
}
"""A field of a span → what it may be called elsewhere, in lower case."""
OF_RELATIONS = {
    "head": ("subject", "from", "source", "arg1", "h"),
    "tail": ("object", "to", "target", "arg2", "t"),
    "label": ("type", "relation", "predicate", "name"),
}
"""A field of a relation → what it may be called elsewhere."""


MEANT = {other: name for name, others in NAMES.items() for other in others}
"""What a field is called elsewhere → its name in jsonlines."""
MEANT_OF_SPANS = {other: name for name, others in OF_SPANS.items() for other in others}
MEANT_OF_RELATIONS = {other: name for name, others in OF_RELATIONS.items() for other in others}


def fields_of(head: bytes) -> list[str]:
    """The fields of the first record of a file of JSON lines or of a JSON list, by its first bytes."""
    text = head.decode("utf-8", "replace").removeprefix("\ufeff").lstrip().removeprefix("[").lstrip()
    try:
        record, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return []
    return list(record) if isinstance(record, dict) else []


def renaming(fields: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Field of a record → the field of jsonlines that is probably meant, for those that are not `known`."""
    fields, known = list(fields), set(known)
    found: dict[str, str] = {}
    for field in fields:
        plain = field.strip().lower()
        name = plain if plain in NAMES else MEANT.get(plain, "")
        if name and field not in known and name not in (*fields, *found.values()):
            found[field] = name
    return found
