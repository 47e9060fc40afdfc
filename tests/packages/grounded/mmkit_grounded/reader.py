"""`grounded.posts.v1`: jsonlines of posts whose names have boxes in the photo."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from mmkit.data.jsonl import JsonlReader, write_jsonl
from mmkit.data.types import Example, Image, Region, Span
from mmkit.files import written_once

NAMES = ("Jordan", "Paris", "Lee", "Kim", "Rio", "Ada")
COLOURS = {"PER": (220, 30, 30), "ORG": (30, 30, 220)}
SIDES = {"left": 4, "right": 36}
SIZE = 64


class PostReader(JsonlReader):
    """Reads canonical jsonlines. In the sample, the sentence tells where the box is, and the photo the type."""

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        root = written_once(folder / f"posts-{seed}", lambda target: draw(target, random.Random(seed)))
        return {split: {"root": str(root), "file": f"{split}.jsonl"} for split in ("train", "dev", "test")}


def draw(folder: Path, chance: random.Random) -> None:
    """Three splits of posts, and their photos."""
    for split, count in (("train", 160), ("dev", 24), ("test", 32)):
        posts = [post(folder, f"{split}{i}", chance) for i in range(count)]
        write_jsonl(folder / f"{split}.jsonl", posts, "examples")


def post(folder: Path, name: str, chance: random.Random) -> Example:
    """A name on one side of a photo."""
    label, side = chance.choice(list(COLOURS)), chance.choice(list(SIDES))
    left, top = SIDES[side], 20
    box = (left, top, left + 24, top + 24)
    picture = Picture.new("RGB", (SIZE, SIZE), (128, 128, 128))
    picture.paste(COLOURS[label], box)
    picture.save(folder / f"{name}.png")
    words = ["look", "at", chance.choice(NAMES), "on", "the", side, "!"]
    place = Region(0, (float(box[0]), float(box[1]), float(box[2]), float(box[3])))
    return Example.from_tokens(
        name, words, images=(Image(f"{name}.png"),), spans=(Span(2, 3, label, (place,)),)
    )
