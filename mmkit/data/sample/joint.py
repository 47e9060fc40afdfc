"""The joint sample: two names whose photo decides what they are and how they are related, in two published formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from mmkit.data.sample import names, pictures
from mmkit.data.sample.mre import BIRTH, NEUTRAL, TOLD
from mmkit.files import written_once

SPLITS = {"train": ("train", 80), "dev": ("val", 12), "test": ("test", 16)}
"""Split → file stem and number of neutral sentences; each comes with every photo of `SHOWN`."""

SHOWN = ("/per/per/couple", "/per/per/peer", "/org/loc/locate_at", "/misc/misc/part_of")
"""Relations that the photo decides, and with them the types of both names; the head comes first in the sentence."""

NONE = "None"
MORE = " , {} was born in {}"
"""What some sentences add about unambiguous names: a second relation, which the words show."""

Bounds = tuple[int, int]


@dataclass(frozen=True)
class Post:
    """A sentence, what its photo shows, and its pairs of names: bounds of head and tail, and the relation."""

    tokens: list[str]
    kind: str
    pairs: list[tuple[Bounds, str, Bounds]]


def jmere_sample(folder: Path, seed: int) -> dict[str, dict[str, Any]]:
    """The sample as `mmkit.jmere.v1` reads it: each split's constructor overrides."""
    root = written_once(folder / f"joint-v2-{seed}", lambda target: _write(target, seed, _write_jmere))
    return {
        split: {"root": str(root), "file": f"{stem}.json", "images": f"img_org/{stem}"}
        for split, (stem, _) in SPLITS.items()
    }


def mnre_joint_sample(folder: Path, seed: int) -> dict[str, dict[str, Any]]:
    """The same, and sentences without a relation, as `mmkit.mnre_joint.v1` reads it."""
    root = written_once(folder / f"joint-pairs-v2-{seed}", lambda target: _write(target, seed, _write_mnre))
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


def _write(folder: Path, seed: int, write: Callable[[Path, str, list[Post], Random], None]) -> None:
    """Sentences and photos in one of the formats; equal seeds give equal bytes, and equal posts in both."""
    words, brush = Random(seed), Random(seed)
    for stem, count in SPLITS.values():
        posts = [post for _ in range(count) for post in _posts(words)]
        words.shuffle(posts)
        write(folder, stem, posts, brush)


def _posts(rng: Random) -> Iterator[Post]:
    """A neutral sentence with each kind of photo, and a sentence that tells by itself, with a photo of no use.

    Where it has no more to tell, the neutral one comes with such a photo too: then it holds no relation.
    """
    post = _sentence(rng.choice(NEUTRAL), rng)
    (head, _, tail), *more = post.pairs
    for relation in SHOWN:
        yield replace(post, kind=relation, pairs=[(head, relation, tail), *more])
    if not more:
        yield post
    yield _sentence(rng.choice(BIRTH), rng)


def _sentence(template: str, rng: Random) -> Post:
    """Two ambiguous names, one born in the other or, by the words, in no relation; with a useless photo."""
    chosen, relations = rng.sample(names.AMBIGUOUS, 2), [TOLD if template in BIRTH else NONE]
    if template not in BIRTH and rng.random() < 0.25:
        template += MORE
        chosen += [rng.choice(names.CLEAR["PER"]), rng.choice(names.CLEAR["LOC"])]
        relations.append(TOLD)
    body, bounds = names.filled(template, chosen)
    tokens, shift = names.framed(body, rng)
    places = [(start + shift, end + shift) for start, end in bounds]
    return Post(tokens, NONE, list(zip(places[::2], relations, places[1::2], strict=True)))


def _write_jmere(folder: Path, stem: str, posts: list[Post], rng: Random) -> None:
    """The posts that have a relation, as a JSON list. Useless photos are less similar to their sentence."""
    records: list[dict[str, Any]] = []
    for post in posts:
        related = [pair for pair in post.pairs if pair[1] != NONE]
        if not related:
            continue
        photo, likeness = f"sample_{stem}_{len(records)}.jpg", 0.15 if post.kind == NONE else 0.4
        pictures.save(pictures.photo(post.kind, rng), folder / "img_org" / stem / photo)
        records.append(
            {
                "text": " ".join(post.tokens),
                "img_id": photo,
                "triple_list": [_triple(post.tokens, *pair) for pair in related],
                "ent_pair_list": [[head, tail] for head, _, tail in related],
                "itm_score": round(2 * likeness + rng.uniform(-0.1, 0.1), 4),
                "itc_score": round(likeness + rng.uniform(-0.1, 0.1), 4),
            }
        )
    (folder / f"{stem}.json").write_text(json.dumps(records, indent=1), encoding="utf-8")


def _triple(tokens: list[str], head: Bounds, name: str, tail: Bounds) -> list[str]:
    _, head_type, tail_type, relation = name.split("/")
    return [_words(tokens, head), relation, _words(tokens, tail), head_type, tail_type]


def _write_mnre(folder: Path, stem: str, posts: list[Post], rng: Random) -> None:
    """One line for each pair, not next to others of its sentence, with photos, object crops and the crops' table."""
    instances = []
    for index, post in enumerate(posts):
        photo = f"sample_{stem}_{index}.jpg"
        pictures.save(pictures.photo(post.kind, rng), folder / "img_org" / stem / photo)
        crops = [f"{index}_{i}.jpg" for i in range(rng.choice((0, 1, 2, 2, 3)))]
        for name in crops:
            pictures.save(pictures.crop(post.kind, rng), folder / "img_vg" / stem / "crops" / name)
        for head, relation, tail in post.pairs:
            ends = {
                key: {"name": _words(post.tokens, bounds), "pos": list(bounds)}
                for key, bounds in (("h", head), ("t", tail))
            }
            instances.append(({"token": post.tokens, **ends, "img_id": photo, "relation": relation}, crops))
    rng.shuffle(instances)
    lines = "".join(f"{instance!r}\n" for instance, _ in instances)
    table = {str(line): crops for line, (_, crops) in enumerate(instances)}
    (folder / f"{stem}.txt").write_text(lines, encoding="utf-8")
    (folder / f"{stem}_crops.json").write_text(json.dumps(table, indent=0), encoding="utf-8")


def _words(tokens: list[str], bounds: Bounds) -> str:
    return " ".join(tokens[slice(*bounds)])
