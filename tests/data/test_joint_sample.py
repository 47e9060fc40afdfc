"""The joint sample: deterministic, in two published formats, types and relations decided by the pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmkit.data.image_report import scan_images
from mmkit.data.images import open_image
from mmkit.data.jmere import ITC_SCORE, ITM_SCORE, JmereReader
from mmkit.data.mnre_joint import MnreJointReader
from mmkit.data.reader import Reader
from mmkit.data.sample.joint import SHOWN, SPLITS
from mmkit.data.sample.names import AMBIGUOUS
from mmkit.data.strings import Strings
from mmkit.data.types import Example, Relation

READERS = (JmereReader, MnreJointReader)
TOLD = "place_of_birth"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


def read(reader: type[Reader], folder: Path, **more: Any) -> dict[str, list[Example]]:
    overrides = reader.sample(folder, 1234)
    assert set(overrides) == set(SPLITS)
    return {split: list(reader(**(options | more))) for split, options in overrides.items()}  # type: ignore[arg-type]


def shown(example: Example) -> list[Relation]:
    """The relations that only the photo tells."""
    return [r for r in example.relations if r.label != TOLD]


@pytest.mark.parametrize("reader", READERS)
def test_every_picture_is_there(folder: Path, reader: type[Reader]) -> None:
    splits = read(reader, folder)
    examples = [x for split in splits.values() for x in split]
    report = scan_images(examples, decode=True)
    assert report.bad == 0 and report.present >= len(examples)
    assert [len(x) for x in splits.values()] == [400, 60, 80]
    assert Counter(len(x.relations) for x in examples).keys() == {1, 2}


def test_nothing_but_pairs_without_a_relation_is_left_out(folder: Path) -> None:
    for reader in READERS:
        for options in reader.sample(folder, 1234).values():
            instance = reader(**options)
            assert list(instance)
            assert all("without a relation" in reason for reason in instance.repairs)
            assert bool(instance.repairs) == (reader is MnreJointReader)


@pytest.mark.parametrize("reader", READERS)
def test_equal_seeds_give_equal_bytes(tmp_path: Path, folder: Path, reader: type[Reader]) -> None:
    def all_bytes(folder: Path, seed: int) -> dict[str, bytes]:
        root = Path(reader.sample(folder, seed)["train"]["root"])
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    assert all_bytes(folder, 1234) == all_bytes(tmp_path, 1234)
    assert all_bytes(folder, 1234) != all_bytes(tmp_path, 1)


def test_both_formats_tell_the_same(folder: Path) -> None:
    def told(examples: list[Example]) -> Counter[Any]:
        return Counter((x.text, Strings.of(x, x.spans, ()), frozenset(x.relations)) for x in examples)

    jmere, mnre = (read(reader, folder) for reader in READERS)
    assert all(told(jmere[split]) == told(mnre[split]) for split in SPLITS)


def test_words_alone_tell_neither_types_nor_relations(folder: Path) -> None:
    for split in read(JmereReader, folder).values():
        answers: dict[str, Counter[Any]] = {}
        for example in split:
            for relation in shown(example):
                types = (relation.head.label, relation.label, relation.tail.label)
                answers.setdefault(example.text, Counter())[types] += 1
        for counts in answers.values():
            assert {f"/{head}/{tail}/{name}" for head, name, tail in counts} == set(SHOWN)
            assert len(set(counts.values())) == 1
        told = sum(r.label == TOLD for x in split for r in x.relations)
        assert told < 0.45 * sum(len(x.relations) for x in split)  # what text alone gets right


def test_the_pairs_that_photos_tell_are_ambiguous_and_in_the_order_of_the_sentence(folder: Path) -> None:
    for example in read(JmereReader, folder)["train"]:
        for relation in shown(example):
            words = {" ".join(example.tokens[s.start : s.end]) for s in (relation.head, relation.tail)}
            assert words <= set(AMBIGUOUS) and relation.head.end <= relation.tail.start


def test_scores_are_those_of_blip_and_tell_photos_of_no_use(folder: Path) -> None:
    for example in read(JmereReader, folder)["train"]:
        assert (example.notes[ITC_SCORE] > 0.27) == bool(shown(example))
        assert 0 <= example.notes[ITM_SCORE] <= 1


@pytest.mark.parametrize("reader", READERS)
def test_the_mean_colours_of_a_2_by_2_grid_tell_what_a_picture_shows(
    folder: Path, reader: type[Reader]
) -> None:
    """Least squares on twelve numbers: a random network with a pooled grid sees at least as much."""
    splits = read(reader, folder)
    pixels: dict[str, list[Any]] = {"train": [], "test": []}
    labels: dict[str, list[str]] = {"train": [], "test": []}
    for split in ("train", "test"):
        for example in splits[split]:
            small = open_image(example.images[0]).resize((2, 2), 4)
            pixels[split].append([*np.asarray(small).reshape(-1) / 255, 1])
            labels[split].append(str(next((r.label for r in shown(example)), None)))
    known = sorted(set(labels["train"]))
    assert len(known) == len(SHOWN) + 1
    targets = np.eye(len(known))[[known.index(x) for x in labels["train"]]]
    weights = np.linalg.lstsq(np.array(pixels["train"]), targets, rcond=None)[0]
    guesses = (np.array(pixels["test"]) @ weights).argmax(1)
    assert np.mean([known[g] == x for g, x in zip(guesses, labels["test"], strict=True)]) > 0.9


def test_overrides_leave_a_recipe_its_own_options(folder: Path) -> None:
    blank = read(JmereReader, folder, blank_images=True)
    assert all(i.path is None for x in blank["test"] for i in x.images)
    assert [x.images for x in read(MnreJointReader, folder, images=None)["test"]] == [()] * 80
