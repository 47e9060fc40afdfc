"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A paragraph that was found, or the article of an image that was found. A higher `score` is a better match.

    `id` is unique in an index. It is the id of the article and the number of the paragraph or image in it: `12#3`.
    """

    id: str
    article: str
    title: str
    text: str
    score: float
    caption: str = ""
    image: str = ""
