"""Counts what a model did not read of the examples that it answered for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmkit.tasks import Answer


class Lacks:
    """What a model did not read, counted over many answers."""

    def __init__(self) -> None:
        self.examples = 0
        self.texts: Counter[str] = Counter()
        self.contexts: Counter[str] = Counter()
        self.pairs: Counter[str] = Counter()
        self.mentions: Counter[str] = Counter()
        self.images = self.without = 0

    def counted(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """The answers, counted one by one."""
        for answer in answers:
            self.examples += 1
            for unread in answer.unread:
                whole = unread.token is None and not unread.mention
                (self.contexts if whole else self.texts)[unread.encoder] += 1
                self.mentions[unread.encoder] += unread.mention
                self.pairs[unread.encoder] += answer.half_read(unread)
            self.images += len(answer.unread_images)
            self.without += answer.without_image
            yield answer

    def to_json(self) -> dict[str, Any]:
        """The counts, for `add`."""
        return {name: dict(v) if isinstance(v, Counter) else v for name, v in vars(self).items()}

    def add(self, counts: Mapping[str, Any]) -> None:
        """Add what `to_json` gave of others."""
        for name, own in vars(self).items():
            if isinstance(own, Counter):
                own.update(counts[name])
            else:
                setattr(self, name, own + counts[name])

    def lines(self) -> Iterator[str]:
        """What was not read, for people; nothing if all was read."""
        of = f"of {self.examples:,}"
        for encoder, count in self.texts.items():
            said = f"{count:,} {of} texts are longer than model.encoders.{encoder} can read, and were cut"
            lost = ((self.pairs[encoder], "pairs"), (self.mentions[encoder], "mentions"))
            words = [f"the words of {number:,} {name}" for number, name in lost if number]
            yield f"warning: {said}" + (f": {' and '.join(words)} are not read whole" if words else "")
        for encoder, count in self.contexts.items():
            yield f"{count:,} {of} contexts are longer than model.encoders.{encoder} can read, and were cut"
        if self.images:
            yield f"warning: the model did not look at {self.images:,} of the photos"
        if self.without:
            had = f"{self.without:,} {of} examples had no image that the model reads"
            yield f"warning: {had}; a blank image was used"
