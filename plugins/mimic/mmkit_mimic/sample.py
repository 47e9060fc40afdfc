"""A small synthetic dataset in the authors' form, in which only the photos of entities decide.

Entities of one name have the same text; their photos show what each of them is. A sentence fits all of them, and its
photo shows the one that it means.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

from mmkit.data.sample import names, pictures
from mmkit.files import written_once

SPLITS = {"train": 8, "dev": 2, "test": 3}
"""How often each split mentions each entity."""

PHOTOS = 2
"""Of each entity."""

NAMES = 8

SENTENCES = (
    "look at {} !",
    "what a day with {}",
    "nothing like {} on a Sunday",
    "{} again , as ever",
    "more of {} please",
)


def world(folder: Path, seed: int) -> Path:
    """The folder that both readers share, whatever folder each one gets."""
    return written_once(folder.parent / f"mimic-v1-{seed}", lambda target: write(target, seed))


def write(folder: Path, seed: int) -> None:
    """Entities, mentions and their photos; equal seeds give equal bytes."""
    rng = Random(seed)
    pairs = [(name, kind) for name in names.AMBIGUOUS[:NAMES] for kind in names.TYPES]
    rng.shuffle(pairs)
    qids = {f"Q{4001 + i}": i for i in range(len(pairs))}
    entities = [_entity(i, name, kind, folder / "kb_image", rng) for i, (name, kind) in enumerate(pairs)]
    _dump(folder / "kb_entity.json", entities)
    _dump(folder / "qid2id.json", qids)
    numbers = iter(range(10_000))
    for split, times in SPLITS.items():
        mentions = [
            _mention(next(numbers), name, kind, qid, folder / "mention_image", rng)
            for (name, kind), qid in zip(pairs, qids, strict=True)
            for _ in range(times)
        ]
        rng.shuffle(mentions)
        _dump(folder / f"sample_{split}.json", mentions)


def _entity(number: int, name: str, kind: str, photos: Path, rng: Random) -> dict[str, Any]:
    shown = list(_photos(f"Q{4001 + number}", kind, photos, rng))
    return {
        "id": number,
        "type": "entity",
        "entity_name": quote(name),
        "attr": "known by this name",
        "image_list": shown,
    }


def _photos(qid: str, kind: str, folder: Path, rng: Random) -> Iterator[str]:
    for i in range(PHOTOS):
        pictures.save(pictures.photo(kind, rng), folder / f"{qid}_{i}.jpg")
        yield f"{qid}_{i}.jpg"


def _mention(number: int, name: str, kind: str, qid: str, photos: Path, rng: Random) -> dict[str, Any]:
    pictures.save(pictures.photo(kind, rng), photos / f"{number}.jpg")
    sentence = rng.choice(SENTENCES).format(name)
    return {"mentions": quote(name), "sentence": sentence, "imgPath": f"x/{number}.jpg", "answer": qid}


def _dump(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
