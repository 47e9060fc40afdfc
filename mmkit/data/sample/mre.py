"""The MRE sample: pairs of names in MNRE's format whose photo decides how they are related."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from mmkit.data.sample import names, pictures
from mmkit.files import written_once

SPLITS = {"train": ("train", 240), "dev": ("val", 60), "test": ("test", 84)}
"""Split → file stem and number of instances, a multiple of the number of relations."""

SHOWN = ("/per/per/couple", "/per/per/peer", "/org/loc/locate_at", "/misc/misc/part_of", "None")
"""Relations that the photo decides; the sentence is the same for all of them."""

TOLD = "/per/loc/place_of_birth"
"""The relation that the sentence decides; its photo shows nothing useful."""

NEUTRAL = (
    "{} and {} today",
    "more about {} and {} soon",
    "{} , {} and a picture",
    "look , {} with {}",
    "thinking of {} , and of {} too",
)
BIRTH = ("{} was born in {}", "{} , born in {} , smiles")


def mnre_sample(folder: Path, seed: int) -> dict[str, dict[str, Any]]:
    """The sample as `mmkit.mnre.v1` reads it: each split's constructor overrides."""
    root = written_once(folder / f"pairs-v1-{seed}", lambda target: write(target, seed))
    return {
        split: {
            "root": str(root),
            "file": f"{stem}.txt",
            "images": f"img_org/{stem}",
            "crops": f"{stem}_crops.json",
            "crop_images": f"img_vg/{stem}/crops",
        }
        for split, (stem, _) in SPLITS.items()
    }


def write(folder: Path, seed: int) -> None:
    """Instances, photos, object crops and crop tables; equal seeds give equal bytes."""
    rng = Random(seed)
    for stem, count in SPLITS.values():
        lines: list[str] = []
        table: dict[str, list[str]] = {}
        for index, instance in enumerate(_instances(count, rng)):
            photo, relation = f"sample_{stem}_{index}.jpg", instance["relation"]
            lines.append(repr(instance | {"img_id": photo}))
            kind = "None" if relation == TOLD else relation
            pictures.save(pictures.photo(kind, rng), folder / "img_org" / stem / photo)
            table[str(index)] = [f"{index}_{i}.jpg" for i in range(rng.choice((0, 1, 2, 2, 3)))]
            for name in table[str(index)]:
                pictures.save(pictures.crop(kind, rng), folder / "img_vg" / stem / "crops" / name)
        (folder / f"{stem}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / f"{stem}_crops.json").write_text(json.dumps(table, indent=0), encoding="utf-8")


def _instances(count: int, rng: Random) -> list[dict[str, Any]]:
    """The lines' dictionaries, still without images.

    Every neutral sentence occurs once with each relation that a photo shows: words alone do not show it.
    """
    instances = []
    for _ in range(count // (len(SHOWN) + 1)):
        neutral = _sentence(NEUTRAL, rng)
        if rng.random() < 0.5:
            neutral["h"], neutral["t"] = neutral["t"], neutral["h"]
        instances += [neutral | {"relation": relation} for relation in SHOWN]
        instances.append(_sentence(BIRTH, rng) | {"relation": TOLD})
    rng.shuffle(instances)
    return instances


def _sentence(templates: Sequence[str], rng: Random) -> dict[str, Any]:
    """Tokens, and head and tail in the order of the sentence."""
    pair = rng.sample(names.AMBIGUOUS, 2)
    body, bounds = names.filled(rng.choice(templates), pair)
    tokens, shift = names.framed(body, rng)
    head, tail = (
        {"name": name, "pos": [start + shift, end + shift]}
        for name, (start, end) in zip(pair, bounds, strict=True)
    )
    return {"token": tokens, "h": head, "t": tail}
