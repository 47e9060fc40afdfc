"""The corpus: an article with an image for every topic, and an article for every event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mmkit.data.sample import pictures
from mmkit.files import written_once
from mmkit_more.sample.pairs import pairs
from mmkit_more.sample.posts import posts
from mmkit_more.sample.world import WORDS, Topic, World, picture_of


def write_corpus(folder: Path, seed: int) -> Path:
    """The path of a `corpus.jsonl` below `folder`, with its images beside it; written once."""
    root = written_once(folder / f"corpus-v2-{seed}", lambda target: _write(target, seed))
    return root / "corpus.jsonl"


def _write(folder: Path, seed: int) -> None:
    """Equal seeds give equal bytes."""
    lines = []
    for number, topic in enumerate(_topics(World(seed)), 1):
        images = []
        if topic.look is not None:
            images = [{"path": f"images/{number}.jpg", "caption": f"A {WORDS[topic.kind]} ."}]
            pictures.save(picture_of(topic), folder / images[0]["path"])
        text = f"{_said(topic)} Seen at {topic.title} ." if topic.look is None else _said(topic)
        article = {"id": str(number), "title": topic.title, "text": text, "images": images}
        lines.append(json.dumps(article, ensure_ascii=False))
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _topics(world: World) -> Iterator[Topic]:
    yield from (*world.namesakes, *world.pairs, *world.meals)
    for task in (posts(world), pairs(world)):
        for some in task.values():
            yield from (post.event for post in some if post.event is not None)


def _said(topic: Topic) -> str:
    """Text about a topic, with its kind in a word that a small network finds early in a context."""
    return f"{' and '.join(topic.names)} : a {WORDS[topic.kind]} ."
