"""The entity-linking sample: one world for all readers, in which photos decide."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmkit.data.image_report import scan_images
from mmkit.data.images import open_image
from mmkit.data.kb_json import KbJsonReader
from mmkit.data.kb_jsonl import KbJsonlReader
from mmkit.data.kb_melbench import KbMelbenchReader
from mmkit.data.melbench import RichpediaReader, WikimelReader
from mmkit.data.reader import Reader
from mmkit.data.sample.names import AMBIGUOUS, CLEAR, KIND_WORDS
from mmkit.data.types import Entity, Example, Image
from mmkit.data.wikidiverse import WikidiverseReader
from mmkit.data.wikiperson import WikipersonReader

SPLITS = ("train", "dev", "test")
CAPTIONED = (WikimelReader, RichpediaReader, WikidiverseReader)
DATASETS = (*CAPTIONED, WikipersonReader)
TEXTS = ("property.json", "brief.json", "static.json", "dynamic.json", "entity2desc.json", "entity_12w.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mel") / "reader"


def read(reader: type[Reader], folder: Path, **more: Any) -> dict[str, list[Example]]:
    overrides = reader.sample(folder, 1234)
    assert set(overrides) == set(SPLITS)
    return {split: list(reader(**(options | more))) for split, options in overrides.items()}  # type: ignore[arg-type]


def entities(reader: type[Reader], folder: Path, **more: Any) -> dict[str, Entity]:
    options = reader.sample(folder, 1234)["entities"] | more
    return {e.id: e for e in reader(**options)}  # type: ignore[misc,union-attr]


def test_all_readers_share_one_world_that_a_seed_decides(tmp_path: Path, folder: Path) -> None:
    roots = {
        options["root"]
        for reader in (*DATASETS, KbJsonReader, KbJsonlReader, KbMelbenchReader)
        for options in reader.sample(folder.parent / reader.__name__, 1234).values()
    }
    [root] = map(Path, roots)
    again = Path(WikimelReader.sample(tmp_path / "x", 1234)["train"]["root"])
    other = Path(WikimelReader.sample(tmp_path / "x", 1)["train"]["root"])

    def contents(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    assert contents(root) == contents(again) != contents(other)


@pytest.mark.parametrize("reader", DATASETS)
def test_every_picture_is_there_and_every_mention_in_place(folder: Path, reader: type[Reader]) -> None:
    splits = read(reader, folder)
    examples = [x for split in SPLITS for x in splits[split]]
    assert len({x.id for x in examples}) == len(examples)
    report = scan_images(examples, decode=True)
    assert report.bad == 0 and report.present > 200
    assert all(x.mention is None or x.mention.span is not None for x in examples)
    for options in reader.sample(folder, 1234).values():
        instance = reader(**options)
        list(instance)
        assert not [reason for reason in instance.repairs if "image" not in reason]


@pytest.mark.parametrize("reader", DATASETS)
def test_candidates_hold_the_entity_and_those_it_is_mistaken_for(folder: Path, reader: type[Reader]) -> None:
    known = entities(KbJsonReader, folder, file="static.json")
    for x in (x for split in read(reader, folder).values() for x in split):
        gold = known[x.entity]
        assert gold.id in x.candidates and set(x.candidates) < set(known)
        assert {e.id for e in known.values() if e.aliases == gold.aliases} <= set(x.candidates)


@pytest.mark.parametrize("reader", CAPTIONED)
def test_the_words_do_not_tell_which_entity_is_meant(folder: Path, reader: type[Reader]) -> None:
    splits = read(reader, folder)
    assert [len(splits[s]) for s in SPLITS] == [672, 112, 112]
    for examples in splits.values():
        meant: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for x in examples:
            assert x.mention is not None
            meant[x.text, x.mention.text][x.entity] += 1
        for (_, name), counts in meant.items():
            assert len(counts) == (len(KIND_WORDS) if name in AMBIGUOUS else 1)
            assert len(set(counts.values())) == 1
        best = sum(max(counts.values()) for counts in meant.values()) / len(examples)
        assert 0.25 < best < 0.4


def test_training_shows_every_entity(folder: Path) -> None:
    known = entities(KbJsonReader, folder, file="static.json")
    assert len(known) == len(AMBIGUOUS) * 4 + sum(map(len, CLEAR.values())) == 56
    seen = Counter(x.entity for x in read(WikimelReader, folder)["train"])
    assert seen.keys() == known.keys()
    assert all(seen[e.id] >= 12 for e in known.values() if e.aliases[0] in AMBIGUOUS)


def look(image: Image) -> np.ndarray:
    """A picture's colours on a grid of 4 x 4 with their spread: what a weak model sees of it."""
    pixels = np.asarray(open_image(image), dtype=float)[:96, :96].reshape(4, 24, 4, 24, 3)
    return np.concatenate([pixels.mean((1, 3)).ravel(), pixels.std((1, 3)).mean((0, 1))])


def nearest(train: list[tuple[np.ndarray, str]], test: list[tuple[np.ndarray, str]]) -> float:
    """How often the label of the nearest training picture is right."""
    known = np.stack([features for features, _ in train])
    hits = [train[int(np.square(known - features).sum(1).argmin())][1] == label for features, label in test]
    return float(np.mean(hits))


def test_photos_show_the_kind_of_what_is_mentioned(folder: Path) -> None:
    known = entities(KbJsonReader, folder, file="static.json")
    splits = read(WikimelReader, folder)

    def photos(split: str) -> list[tuple[np.ndarray, str]]:
        named = [(x, known[x.entity]) for x in splits[split]]
        words = {word: kind for kind, word in KIND_WORDS.items()}
        kinds = {e.id: next(k for w, k in words.items() if f" a {w} " in e.description) for _, e in named}
        return [(look(x.images[0]), kinds[e.id]) for x, e in named if e.aliases[0] in AMBIGUOUS]

    assert nearest(photos("train"), photos("test")) > 0.97


def test_portraits_show_who_it_is(folder: Path) -> None:
    splits = read(WikipersonReader, folder)
    assert len({x.entity for x in splits["train"]}) == 14
    train, test = ([(look(x.images[0]), str(x.entity)) for x in splits[s]] for s in ("train", "test"))
    assert nearest(train, test) > 0.97


def test_some_records_of_richpedia_have_two_photos(folder: Path) -> None:
    photos = Counter(len(x.images) for x in read(RichpediaReader, folder, parts=False)["train"])
    assert set(photos) == {1, 2} and min(photos.values()) > 30


@pytest.mark.parametrize("file", TEXTS)
def test_every_file_of_texts_says_what_an_entity_is(folder: Path, file: str) -> None:
    known = entities(KbJsonReader, folder, file=file)
    described = {id: e for id, e in known.items() if e.description}
    assert (len(known), len(described)) == (56, 52 if file == "dynamic.json" else 56)
    for e in described.values():
        assert e.aliases[0] in e.description
        assert sum(f" {word}" in e.description for word in KIND_WORDS.values()) >= 1
    assert len({e.description for e in described.values()}) == len(described)


def test_all_knowledge_bases_hold_the_same_entities(folder: Path) -> None:
    known = entities(KbJsonReader, folder, file="static.json")
    lines = entities(KbJsonlReader, folder)
    titles = entities(KbMelbenchReader, folder)
    assert known == lines
    assert {id: e.name for id, e in known.items()} == {id: e.name for id, e in titles.items()}
    assert scan_images(known.values(), decode=True).bad == 0
