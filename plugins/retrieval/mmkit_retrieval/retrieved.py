"""What retrieval finds, and how it becomes the context of an example."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A paragraph, or an article that a retrieved image belongs to; a higher `score` is a better match.

    `id` is unique in an index: the article's id and the number of the paragraph or image in it, `12#3`.
    """

    id: str
    article: str
    title: str
    text: str
    score: float
    caption: str = ""
    image: str = ""
