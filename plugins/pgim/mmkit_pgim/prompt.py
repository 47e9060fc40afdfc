"""The prompt: what the task is, similar posts with their answers, and the post that is asked about.

The parts and their order are PGIM's (Li et al., EMNLP Findings 2023); the authors did not publish the words, which are
ours. If they change, `VERSION` must become another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

VERSION = 1

HEAD = (
    "Posts from social media are given, each with its text and, if it has a photo, with a caption of it. "
    "For each post, find the named entities in the text: the names of people, places, organizations and other things. "
    "Say of what kind each one is, and give your reasons. "
    "The photo of a post may have nothing to do with its text; then do not use it."
)

NO_PHOTO = "The last post has no photo, so decide by its text alone."

QUESTION = (
    "Analyze the text and the caption together: "
    "which named entities are in the text, of what kind is each, and why?"
)

LABELS = {"text": "Text", "caption": "Caption", "question": "Question", "answer": "Answer"}


def prompt_of(text: str, caption: str, examples: Sequence[Mapping[str, str]]) -> str:
    """The prompt for a post, with the examples in their order. An empty `caption` stands for a post without a photo."""
    head = HEAD if caption else f"{HEAD} {NO_PHOTO}"
    asked = [_asked(x["text"], x["caption"], x["answer"]) for x in examples]
    return "\n\n".join([head, *asked, _asked(text, caption, "")])


def prompt_hash() -> str:
    """A hash of all words of the prompt that do not depend on a post."""
    words = json.dumps([VERSION, HEAD, NO_PHOTO, QUESTION, LABELS], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _asked(text: str, caption: str, answer: str) -> str:
    lines = [(LABELS["text"], text), (LABELS["caption"], caption), (LABELS["question"], QUESTION)]
    told = [f"{label}: {' '.join(words.split())}" for label, words in lines if words]
    return "\n".join([*told, f"{LABELS['answer']}: {' '.join(answer.split())}".rstrip()])
