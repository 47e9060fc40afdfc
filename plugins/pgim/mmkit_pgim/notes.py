"""The notes in which this package keeps what it finds about a post."""

from __future__ import annotations

CAPTION = "pgim.caption"
"""Note key: the caption of a post's photo."""

EXAMPLES = "pgim.examples"
"""Note key: the posts of the pool that are most like a post, the most similar last.

Each is `{"id": ..., "text": ..., "caption": ..., "answer": ...}`; an empty caption stands for none.
"""

KNOWLEDGE = "pgim.knowledge"
"""Note key: the chat model's answer, the entities of a post and its reasons, as one text."""
