"""The entity-linking sample: one synthetic world of ambiguous names, in every format that a reader reads.

"Jordan" is a person, a place, an organisation and an award. A caption is the same for all of them, and the photo shows
which it is. All datasets of the world share one knowledge base and its ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from random import Random
from typing import Any

from mmkit.data.mel import SplitName, split_of
from mmkit.data.sample import names, pictures
from mmkit.data.types import Entity, Image
from mmkit.files import written_once

Overrides = dict[str, dict[str, Any]]

ROUNDS: dict[SplitName, int] = {"train": 12, "dev": 2, "test": 2}
"""How often each split mentions each entity with an ambiguous name."""

PORTRAITS: dict[SplitName, int] = {"train": 20, "dev": 2, "test": 3}
"""How often each split shows every person (WIKIPerson)."""

UNDESCRIBED = 4
"""Entities without a generated description (`dynamic.json`)."""

BY_MENTION, BY_ENTITY = "search_top100.json", "search_top100_by_entity.json"
"""Candidate lists, as they are published for WikiMEL and Richpedia, and for WikiDiverse and WIKIPerson."""


@dataclass(frozen=True)
class Thing:
    """An entity of the world, before it is written in the format of a file."""

    id: str
    name: str
    kind: str
    role: str
    country: str

    @property
    def title(self) -> str:
        return f"{self.name} ({self.role})"

    @property
    def is_a(self) -> str:
        return names.KIND_WORDS[self.kind]


@dataclass(frozen=True)
class Caption:
    """A sentence, what its photo shows, and the entities it mentions."""

    id: str
    split: SplitName
    shows: str
    text: str
    things: tuple[Thing, ...]


def wikimel_sample(folder: Path, seed: int) -> Overrides:
    """The sample as `mmkit.wikimel.v1` reads it: each split's constructor overrides."""
    shared = {"file": "wikimel.json", "images": "images", "candidates": BY_MENTION}
    return _splits(folder, seed, lambda split: shared | {"split": split})


def richpedia_sample(folder: Path, seed: int) -> Overrides:
    """The sample as `mmkit.richpedia.v1` reads it."""
    shared = {"file": "richpedia.json", "images": "images", "candidates": BY_MENTION}
    return _splits(folder, seed, lambda split: shared | {"split": split})


def wikidiverse_sample(folder: Path, seed: int) -> Overrides:
    """The sample as `mmkit.wikidiverse.v1` reads it, in the form of DWE's authors."""
    shared = {"images": "images", "candidates": BY_ENTITY}
    return _splits(folder, seed, lambda split: shared | {"file": f"wikidiverse_{split}.json"})


def wikiperson_sample(folder: Path, seed: int) -> Overrides:
    """The sample as `mmkit.wikiperson.v1` reads it."""
    shared = {"images": "portraits", "candidates": BY_ENTITY}
    return _splits(folder, seed, lambda split: shared | {"file": f"wikiperson_{split}.json"})


def kb_json_sample(folder: Path, seed: int) -> Overrides:
    """The knowledge base as `mmkit.kb_json.v1` reads it. The recipe's own `file` stays: the world has them all."""
    world = _world(folder, seed)
    files = {"names": "names.json", "aliases": "aliases.json", "images": "kb_images"}
    return {"entities": {"root": str(world)} | files}


def kb_jsonl_sample(folder: Path, seed: int) -> Overrides:
    """The knowledge base as `mmkit.kb_jsonl.v1` reads it."""
    return {"entities": {"root": str(_world(folder, seed)), "file": "kb.jsonl"}}


def kb_melbench_sample(folder: Path, seed: int) -> Overrides:
    """The knowledge base as `mmkit.kb_melbench.v1` reads it: names alone."""
    return {"entities": {"root": str(_world(folder, seed)), "file": "wikimel.json"}}


def _splits(folder: Path, seed: int, of: Callable[[SplitName], dict[str, Any]]) -> Overrides:
    root = str(_world(folder, seed))
    return {split: {"root": root} | of(split) for split in ROUNDS}


def _world(folder: Path, seed: int) -> Path:
    """The folder that all readers share, whatever folder each one gets."""
    return written_once(folder.parent / f"mel-v3-{seed}", lambda target: write(target, seed))


def write(folder: Path, seed: int) -> None:
    """Datasets, photos, candidate lists and knowledge bases; equal seeds give equal bytes."""
    rng = Random(seed)
    things = _things(rng)
    ids = {split: _ids(split) for split in ROUNDS}
    captions = _captions(things, ids, rng)
    for caption in captions:
        pictures.save(pictures.photo(caption.shows, rng), folder / "images" / f"{caption.id}.jpg")
    _write(folder / "wikimel.json", {c.id: _wikimel(c) for c in captions})
    _write_richpedia(folder, captions, ids, rng)
    _write_wikidiverse(folder, captions)
    _write_wikiperson(folder, [thing for thing in things if thing.kind == "PER"], rng)
    _write_candidates(folder, things, rng)
    _write_entities(folder, things, rng)


def _things(rng: Random) -> list[Thing]:
    """Every ambiguous name as each kind, and the names of only one kind."""
    pairs = [(name, kind) for kind in names.TYPES for name in (*names.AMBIGUOUS, *names.CLEAR[kind])]
    rng.shuffle(pairs)
    return [
        Thing(f"Q{1001 + i}", name, kind, rng.choice(names.ROLES[kind]), rng.choice(names.COUNTRIES))
        for i, (name, kind) in enumerate(pairs)
    ]


def _ids(split: SplitName) -> Iterator[str]:
    """Ids of records that the hash puts into a split."""
    return (id for id in map(str, count(10_000)) if split_of(id) == split)


def _captions(things: Sequence[Thing], ids: dict[SplitName, Iterator[str]], rng: Random) -> list[Caption]:
    """All splits' captions. Every sentence occurs once with each kind of photo: words alone are not enough."""
    by = {(thing.name, thing.kind): thing for thing in things}
    clear = cycle([(name, kind) for kind in names.TYPES for name in names.CLEAR[kind]])
    captions = []
    for split, rounds in ROUNDS.items():
        drawn = []
        for sentence, ambiguous, other in (s for _ in range(rounds) for s in _sentences(clear, rng)):
            for kind in names.TYPES:
                meant = [by[name, kind] for name in ambiguous] + [
                    by[name_and_kind] for name_and_kind in other
                ]
                drawn.append(Caption(next(ids[split]), split, kind, sentence, tuple(meant)))
        captions += rng.sample(drawn, len(drawn))
    return captions


def _sentences(
    clear: Iterator[tuple[str, str]], rng: Random
) -> Iterator[tuple[str, list[str], list[tuple[str, str]]]]:
    """Sentences that mention every ambiguous name once, and some of them a name of one kind, with that kind."""
    order = rng.sample(names.AMBIGUOUS, len(names.AMBIGUOUS))
    for i, group in enumerate([order[0:2], order[2:4], *([name] for name in order[4:])]):
        template = rng.choice(names.TWO_NAMES if len(group) == 2 else names.ONE_NAME)
        others = [next(clear)] if i % 5 == 4 else []
        body, _ = names.filled(
            " ".join([template, *(names.CLEAR_PHRASES[kind] for _, kind in others)]),
            [*group, *(name for name, _ in others)],
        )
        yield " ".join(names.framed(body, rng)[0]), group, others


def _wikimel(caption: Caption) -> dict[str, Any]:
    return {
        "id": caption.id,
        "sentence": caption.text,
        "mentions": [thing.name for thing in caption.things],
        "entities": [thing.title for thing in caption.things],
        "answer": [thing.id for thing in caption.things],
    }


def _write_richpedia(
    folder: Path, captions: Sequence[Caption], ids: dict[SplitName, Iterator[str]], rng: Random
) -> None:
    """One mention in each record; some have a second photo, some name an image in another format."""
    records = {}
    for caption in captions:
        for thing in caption.things:
            id = next(ids[caption.split])
            photos = [f"{caption.id}.jpg"]
            if rng.random() < 0.3:
                photos.append(f"{id}_2.jpg")
                pictures.save(pictures.photo(caption.shows, rng), folder / "images" / photos[-1])
            if rng.random() < 0.1:
                photos.append(f"{id}.svg")
            fields = {"mentions": thing.name, "entities": thing.title, "answer": thing.id, "img_list": photos}
            records[id] = {"id": id, "sentence": caption.text} | fields
    _write(folder / "richpedia.json", records)


def _write_wikidiverse(folder: Path, captions: Sequence[Caption]) -> None:
    for split in ROUNDS:
        records = [
            {
                "sentence": caption.text,
                "mention": thing.name,
                "mention_type": thing.is_a.capitalize(),
                "mention_image": f"{caption.id}.jpg",
                "entity": thing.id,
            }
            for caption in captions
            if caption.split == split
            for thing in caption.things
        ]
        _write(folder / f"wikidiverse_{split}.json", records)


def _write_wikiperson(folder: Path, people: Sequence[Thing], rng: Random) -> None:
    """Portraits that distinguish each person from the others."""
    number = count()
    for split, times in PORTRAITS.items():
        records = []
        for look, thing in rng.sample([*enumerate(people)] * times, len(people) * times):
            id = next(number)
            picture, box = pictures.portrait(look, rng)
            pictures.save(picture, folder / "portraits" / f"{id}.jpg")
            face = json.dumps([float(side) for side in box])
            records.append({"id": id, "image": f"{id}.jpg", "boundingbox": face, "wikiid": thing.id})
        _write(folder / f"wikiperson_{split}.json", records)


def _write_candidates(folder: Path, things: Sequence[Thing], rng: Random) -> None:
    """Lists of every entity of the same name, and some others; the list of a gold entity does not contain it."""

    def listed(close: list[Thing], others: list[Thing]) -> list[str]:
        chosen = [*close, *rng.sample(others, 12)]
        return [thing.id for thing in rng.sample(chosen, len(chosen))]

    by_mention = {
        name: listed([t for t in things if t.name == name], [t for t in things if t.name != name])
        for name in dict.fromkeys(thing.name for thing in things)
    }
    by_entity = {}
    for gold in things:
        close = [t for t in things if (t.name == gold.name or t.kind == gold.kind) and t is not gold]
        by_entity[gold.id] = listed(close, [t for t in things if t is not gold and t not in close])
    _write(folder / BY_MENTION, by_mention)
    _write(folder / BY_ENTITY, by_entity)


def _write_entities(folder: Path, things: Sequence[Thing], rng: Random) -> None:
    """The knowledge base with each kind of text with which DWE and DIM describe entities."""
    from mmkit.data.jsonlines import write_jsonl

    static = {t.id: f"{t.name} is a {t.is_a} of {t.country}, known as a {t.role}." for t in things}
    brief = {t.id: f"{t.title} [SEP]. {t.name}, a {t.is_a}: {t.role} of {t.country}" for t in things}
    facts = {
        t.id: f"Name: {t.name}. Type: {t.is_a}. Known as: {t.role}. Country: {t.country}." for t in things
    }
    generated: dict[str, str | None] = {
        t.id: f"{t.name} is a {t.is_a}. This {t.role} is well known in {t.country}." for t in things
    }
    generated |= dict.fromkeys(rng.sample(sorted(generated), UNDESCRIBED))
    _write(folder / "static.json", static)
    _write(folder / "entity2desc.json", static)
    _write(folder / "brief.json", brief)
    _write(folder / "property.json", facts)
    _write(folder / "dynamic.json", generated)
    _write(folder / "names.json", {t.id: t.title for t in things})
    _write(folder / "aliases.json", {t.id: [t.name] for t in things})
    listed = [{"id": t.id, "name": t.title, "description": static[t.id]} for t in things]
    _write(folder / "entity_12w.json", listed)
    entities = []
    for t in things:
        pictures.save(pictures.photo(t.kind, rng), folder / "kb_images" / f"{t.id}.jpg")
        photo = Image(f"kb_images/{t.id}.jpg")
        entities.append(Entity(t.id, t.title, (t.name,), static[t.id], (photo,)))
    write_jsonl(folder / "kb.jsonl", entities, "entities")


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
