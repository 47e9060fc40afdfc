"""What a person should know of an answer, besides what was found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmkit.errors import listed

if TYPE_CHECKING:
    from mmkit.tasks.answer import Answer


def remarks(answer: Answer) -> Iterator[str]:
    """What a person should know of an answer: what the model did not read, and whether it had no image."""
    for unread in answer.unread:
        lost = []
        if unread.token is not None:
            words = len(answer.tokens) - unread.token
            last = "the last word" if words == 1 else f"the last {words:,} words"
            lost.append(f"{last} of the text, from token {unread.token} (character {unread.char}) on")
        if unread.mention:
            lost.append("words of the mention")
        if pairs := answer.half_read(unread):
            lost.append("words of the pair" if pairs == 1 else f"words of {pairs:,} pairs")
        if unread.context:
            lost.append("the end of the context")
        yield f"not read: {listed(lost)}; the encoder {unread.encoder} can read {unread.limit} subwords"
    if answer.without_image:
        yield "the model looks at an image and had none: a blank image was used"
