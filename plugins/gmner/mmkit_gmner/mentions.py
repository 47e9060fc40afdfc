"""The names in an example or a prediction, with their types and regions, as the metric compares them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from mmkit.data.node import Node
from mmkit.data.strings import STRINGS, strings
from mmkit.data.types import Example, Prediction, Region

SEEN = "gmner.seen"
"""Note key beside the note `mmkit.strings`: for each of its entities the regions that show it.

A list of lists of regions, `{"image": 0, "box": [left, top, right, bottom]}`. Where a model says that the photo shows
the entity, but not where, there is `true` in place of a list.
"""


@dataclass(frozen=True)
class Named:
    """A name: where it stands (its bounds or its words), its type, and whether and where the photo shows it."""

    place: Hashable
    label: str
    visible: bool
    regions: tuple[Region, ...] = ()

    @property
    def region(self) -> Region | None:
        """The region that counts of a prediction; None: there is none, or it is not known."""
        return self.regions[0] if self.regions else None


def named(example: Example, told: Example | Prediction, by_words: bool) -> list[Named]:
    """The names of an example, or of a prediction for it. Raises `DataError` for notes that are not as they should be.

    They are placed by their words or by the bounds of their spans; the same place and type twice is two names.
    """
    if not by_words:
        return [Named((s.start, s.end), s.label, bool(s.regions), s.regions) for s in told.spans]
    entities = strings(example, told).entities
    if STRINGS not in told.notes:
        return [
            Named(words, label, bool(span.regions), span.regions)
            for (words, label), span in zip(entities, told.spans, strict=True)
        ]
    seen = _seen(told, len(entities))
    return [
        Named(words, label, visible, regions)
        for (words, label), (visible, regions) in zip(entities, seen, strict=True)
    ]


def _seen(told: Example | Prediction, number: int) -> list[tuple[bool, tuple[Region, ...]]]:
    """Whether each entity of a note is to be seen, and where; without a note `SEEN`, none is."""
    if SEEN not in told.notes:
        return [(False, ())] * number
    node = Node(told.notes[SEEN], told.id, f"notes.{SEEN}")
    found = []
    for item in node.items():
        regions = () if item.value is True else tuple(Region.read(region) for region in item.items())
        found.append((item.value is True or bool(regions), regions))
    if len(found) != number:
        node.fail(f"a list as long as the entities of the note {STRINGS}, {number}")
    return found
