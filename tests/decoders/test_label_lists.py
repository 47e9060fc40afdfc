"""Only lists of names in `labels.json` are shown."""

from __future__ import annotations

from mmkit.decoders.base import label_lists


def test_only_lists_of_names_are_given() -> None:
    labels = {
        "types": ["PER", "LOC"],
        "links": [],
        "scheme": "BIO",
        "subwords": True,
        "shots": [{"text": "a post", "pictures": ["data:image/jpeg;base64,AAAA"]}],
        "mixed": ["PER", 1],
    }
    assert label_lists(labels) == {"types": ["PER", "LOC"], "links": []}
