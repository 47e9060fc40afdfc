"""`photographed.mentions.v1` and `photographed.entities.v1`: mentions and entities, both with photos."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from mmkit.data.jsonl import JsonlReader, write_jsonl
from mmkit.data.kb_jsonl import KbJsonlReader
from mmkit.data.types import Entity, Example, Image, Mention, Span
from mmkit.files import written_once

NAMES = ("Jordan", "Paris", "Rio")
COLOURS = {"red": (230, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 230), "grey": (120, 120, 120)}


class MentionReader(JsonlReader):
    """Reads canonical jsonlines. In the sample, several entities share a name, and the photos tell them apart."""

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        root = written_once(folder / f"world-{seed}", lambda target: draw(target, random.Random(seed)))
        return {split: {"root": str(root), "file": f"{split}.jsonl"} for split in ("train", "dev", "test")}


class EntityReader(KbJsonlReader):
    """Reads entities of canonical jsonlines; the sample is that of the mentions."""

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        world = folder.parent / f"photographed.mentions.v1-{seed}"
        return {"entities": MentionReader.sample(world, seed)["train"] | {"file": "entities.jsonl"}}


def draw(folder: Path, chance: random.Random) -> None:
    """A knowledge base with two photos an entity, and mentions with one."""
    entities = []
    for name in NAMES:
        for colour in COLOURS:
            paint(folder / f"{name}-{colour}.png", colour, chance)
            Picture.new("RGB", (32, 32), "white").save(folder / f"{name}-{colour}-2.png")
            images = (Image(f"{name}-{colour}.png"), Image(f"{name}-{colour}-2.png"))
            entities.append(Entity(f"{name}-{colour}", name, description="a place", images=images))
    write_jsonl(folder / "entities.jsonl", entities, "entities")
    for split, count in (("train", 60), ("dev", 24), ("test", 36)):
        mentions = []
        for i in range(count):
            name, colour = chance.choice(NAMES), chance.choice(list(COLOURS))
            paint(folder / f"{split}{i}.png", colour, chance)
            mentions.append(
                Example.from_tokens(
                    f"{split}{i}",
                    ["look", "at", name],
                    images=(Image(f"{split}{i}.png"),),
                    mention=Mention(name, Span(2, 3, "mention")),
                    entity=f"{name}-{colour}",
                )
            )
        write_jsonl(folder / f"{split}.jsonl", mentions, "examples")


def paint(path: Path, colour: str, chance: random.Random) -> None:
    """A photo of one colour, a little off."""
    red, green, blue = (min(255, max(0, c + chance.randrange(-15, 16))) for c in COLOURS[colour])
    Picture.new("RGB", (32, 32), (red, green, blue)).save(path)
