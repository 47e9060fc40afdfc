"""Pairs of names in MNRE's format: how are they related?"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from mmkit.data.sample import pictures
from mmkit.files import written_once
from mmkit_more.sample.drawn import Post, Task, drawn
from mmkit_more.sample.world import RELATION_WORDS, World, taken_again

FILES = {"train": "train.txt", "dev": "val.txt", "test": "test.txt"}

READ = ("reading about {} and {} at <event>", "the news is {} with {} at <event>")
LOOK = ("look at {} and {} !", "{} with {} , picture of the day", "can you see {} and {} here ?")
TOLD = ("{} and {} are a <word>", "a <word> : {} and {}")
TOLD_ALONE = (
    ("{} was born in {}", "/per/loc/place_of_birth"),
    ("{} has nothing to do with {}", "None"),
)
"""Relations that only a sentence tells."""


def mnre_sample(folder: Path, seed: int) -> dict[str, dict[str, Any]]:
    """The sample as `more.mnre.v1` reads it: each split's constructor overrides."""
    root = written_once(folder / f"pairs-v2-{seed}", lambda target: _write(target, seed))
    return {
        split: {"root": str(root), "file": file, "images": f"img_org/{Path(file).stem}"}
        for split, file in FILES.items()
    }


def pairs(world: World) -> dict[str, list[Post]]:
    """Every split's posts; their kinds are relations of the first name to the second."""
    told = [
        (template.replace("<word>", word), kind) for template in TOLD for kind, word in RELATION_WORDS.items()
    ]
    return drawn(Task(world.pairs, READ, LOOK, [*told, *TOLD_ALONE], ending="con"), world)


def _write(folder: Path, seed: int) -> None:
    """Instances and photos; equal seeds give equal bytes."""
    world, rng = World(seed), Random(seed)
    for split, some in pairs(world).items():
        stem, lines = Path(FILES[split]).stem, []
        for index, post in enumerate(some):
            photo = f"sample_{stem}_{index}.jpg"
            lines.append(repr(_instance(post) | {"img_id": photo}))
            pictures.save(taken_again(post.photo, rng), folder / "img_org" / stem / photo)
        (folder / FILES[split]).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _instance(post: Post) -> dict[str, Any]:
    head, tail = (
        {"name": " ".join(post.tokens[start:end]), "pos": [start, end]} for start, end in post.bounds
    )
    return {"token": post.tokens, "h": head, "t": tail, "relation": post.kind}
