"""`listening.posts.v1`: jsonlines of posts with a recording."""

from __future__ import annotations

import math
import random
import struct
import wave
from pathlib import Path
from typing import Any

from mmkit.data.jsonl import JsonlReader, write_jsonl
from mmkit.data.types import Example, Media, Span
from mmkit.files import written_once

TONES = {"PER": 3000.0, "ORG": 300.0}
"""Label → what one hears, in Hz."""

NAMES = ("Jordan", "Paris", "Lee", "Kim", "Rio", "Ada")
RATE = 8000


class PostReader(JsonlReader):
    """Reads canonical jsonlines. In the sample, only the recording tells what a name stands for."""

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        root = written_once(folder / f"recordings-{seed}", lambda target: record(target, random.Random(seed)))
        return {split: {"root": str(root), "file": f"{split}.jsonl"} for split in ("train", "dev", "test")}


def record(folder: Path, chance: random.Random) -> None:
    """Three splits of posts, and their recordings."""
    for split, count in (("train", 96), ("dev", 24), ("test", 32)):
        posts = []
        for i in range(count):
            label = chance.choice(list(TONES))
            tone(folder / f"{split}{i}.wav", TONES[label] * chance.uniform(0.9, 1.1))
            media = (Media(f"{split}{i}.wav", "audio"),)
            words = ["listen", "to", chance.choice(NAMES), "!"]
            posts.append(Example.from_tokens(f"{split}{i}", words, spans=(Span(2, 3, label),), media=media))
        write_jsonl(folder / f"{split}.jsonl", posts, "examples")


def tone(path: Path, hertz: float) -> None:
    """A tenth of a second of a tone."""
    samples = [int(20_000 * math.sin(2 * math.pi * hertz * i / RATE)) for i in range(RATE // 10)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
