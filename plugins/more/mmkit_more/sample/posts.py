"""Posts in Twitter-2015's format: what is a name?"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from mmkit.data.sample import names, pictures
from mmkit.files import written_once
from mmkit_more.sample.drawn import Post, Task, drawn
from mmkit_more.sample.world import World, taken_again

FILES = {"train": "train.txt", "dev": "valid.txt", "test": "test.txt"}

READ = ("reading about {} at <event>", "the news is {} at <event>", "{} and all of <event>")
LOOK = ("look at {} !", "{} , picture of the day", "can you see {} here ?")
TOLD = ("{} is a <word>", "there is a <word> called {}")


def conll_sample(folder: Path, seed: int) -> dict[str, dict[str, Any]]:
    """The sample as `more.conll.v1` reads it, without contexts: each split's constructor overrides."""
    root = written_once(folder / f"posts-v2-{seed}", lambda target: _write(target, seed))
    return {split: {"root": str(root), "file": file, "images": "images"} for split, file in FILES.items()}


def posts(world: World) -> dict[str, list[Post]]:
    """Every split's posts; their kinds are entity types."""
    told = [
        (template.replace("<word>", word), kind)
        for template in TOLD
        for kind, word in names.KIND_WORDS.items()
    ]
    return drawn(Task(world.namesakes, READ, LOOK, told, ending="fest"), world)


def _write(folder: Path, seed: int) -> None:
    """Posts and photos; equal seeds give equal bytes."""
    world, rng = World(seed), Random(seed)
    number = 10_000
    for split, some in posts(world).items():
        lines: list[str] = []
        for post in some:
            number += 1
            tagged = zip(post.tokens, _tags(post), strict=True)
            lines += [f"IMGID:{number}", *(f"{token}\t{tag}" for token, tag in tagged), ""]
            pictures.save(taken_again(post.photo, rng), folder / "images" / f"{number}.jpg")
        (folder / FILES[split]).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _tags(post: Post) -> list[str]:
    tags = ["O"] * len(post.tokens)
    for start, end in post.bounds:
        tags[start:end] = [f"B-{post.kind}", *[f"I-{post.kind}"] * (end - start - 1)]
    return tags
