"""Parts and faces for `--sample`, in the authors' form."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

from mmkit.data.images import open_image
from mmkit.data.types import Image
from mmkit.encoders.sampling import make_once

MAP, PARTS, FACES = "total2part_map.json", "wiki_segement", "wiki_detection"

_ANSWERS = {
    "dominant_gender": ["Man", "Woman"],
    "dominant_race": ["asian", "black", "indian", "latino hispanic", "middle eastern", "white"],
    "dominant_emotion": ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"],
}


def write_parts(folder: Path, seed: int, photos: Iterable[Path]) -> None:
    """Write the middle of each photo as its part, most with a synthetic face, unless the folder exists."""

    def write(made: Path) -> None:
        draw, table = random.Random(seed), {}
        for name in (PARTS, FACES):
            (made / name).mkdir()
        for photo in sorted(set(photos)):
            part = f"{photo.stem}_0"
            table[photo.stem] = [part]
            _write_middle(photo, made / PARTS / f"{part}.jpg")
            face = {name: draw.choice(values) for name, values in _ANSWERS.items()} | {
                "age": draw.randint(18, 80)
            }
            faces = [face if draw.random() < 0.8 else {}]
            (made / FACES / f"{part}.json").write_text(json.dumps(faces), encoding="utf-8")
        (made / MAP).write_text(json.dumps(table), encoding="utf-8")

    make_once(folder, write)


def _write_middle(photo: Path, path: Path) -> None:
    picture = open_image(Image(str(photo)))
    width, height = picture.size
    picture.crop((width // 4, height // 4, width - width // 4, height - height // 4)).save(path)
