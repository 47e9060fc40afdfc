"""The samples: deterministic, in the published formats, and decided by their pictures."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmkit.data.conll import ConllImagesReader
from mmkit.data.image_report import scan_images
from mmkit.data.images import open_image
from mmkit.data.jsonl import JsonlReader
from mmkit.data.mnre import MnreReader
from mmkit.data.reader import Reader
from mmkit.data.sample.names import AMBIGUOUS
from mmkit.data.types import Example
from mmkit.files import written_once
from raising import raises

SPLITS = ("train", "dev", "test")
READERS = (ConllImagesReader, MnreReader, JsonlReader)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


def read(reader: type[Reader], folder: Path, **more: Any) -> dict[str, list[Example]]:
    overrides = reader.sample(folder, 1234)
    assert set(overrides) == set(SPLITS)
    return {split: list(reader(**(options | more))) for split, options in overrides.items()}  # type: ignore[arg-type]


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("reader", READERS)
def test_every_picture_is_there_and_nothing_needs_mending(folder: Path, reader: type[Reader]) -> None:
    splits = read(reader, folder)
    for options in reader.sample(folder, 1234).values():
        instance = reader(**options)
        assert list(instance) and not instance.repairs
    examples = [x for split in SPLITS for x in splits[split]]
    report = scan_images(examples, decode=True)
    assert report.bad == 0
    assert report.present > len(examples)
    assert {len(x.images) for x in examples} == {1, 2, 3, 4}
    assert len(splits["train"]) >= 240 and len(splits["dev"]) >= 60 and len(splits["test"]) >= 80


@pytest.mark.parametrize("reader", READERS)
def test_equal_seeds_give_equal_bytes(tmp_path: Path, folder: Path, reader: type[Reader]) -> None:
    root = Path(reader.sample(folder, 1234)["train"]["root"])
    again = Path(reader.sample(tmp_path, 1234)["train"]["root"])
    assert all_bytes(root) == all_bytes(again)
    other = Path(reader.sample(tmp_path, 1)["train"]["root"])
    assert all_bytes(root) != all_bytes(other)


def test_the_jsonl_sample_is_the_conll_one(folder: Path) -> None:
    mine, theirs = read(JsonlReader, folder), read(ConllImagesReader, folder)
    for split in SPLITS:
        assert [(x.id, x.tokens, x.spans) for x in mine[split]] == [
            (x.id, x.tokens, x.spans) for x in theirs[split]
        ]
        for a, b in zip(mine[split], theirs[split], strict=True):
            assert [Path(i.path or "").read_bytes() for i in a.images] == [
                Path(i.path or "").read_bytes() for i in b.images
            ]


def test_words_alone_do_not_tell_the_type_of_an_ambiguous_name(folder: Path) -> None:
    types: dict[tuple[str, str], Counter[str]] = {}
    clear = total = 0
    for example in read(ConllImagesReader, folder)["test"]:
        for span in example.spans:
            name = " ".join(example.tokens[span.start : span.end])
            total += 1
            clear += name not in AMBIGUOUS
            if name in AMBIGUOUS:
                types.setdefault((example.text, name), Counter())[span.label] += 1
    for counts in types.values():  # as often the one as the other, for the same words
        assert set(counts) == {"PER", "LOC", "ORG", "OTHER"}
        assert len(set(counts.values())) == 1
    assert 0.3 < clear / total < 0.5  # names that text alone gets right


def test_words_alone_tell_one_relation_only(folder: Path) -> None:
    relations: dict[str, Counter[str]] = {}
    for example in read(MnreReader, folder)["test"]:
        relations.setdefault(example.text, Counter())[str(example.relations[0].label)] += 1
    for counts in relations.values():
        if "/per/loc/place_of_birth" in counts:
            assert len(counts) == 1
        else:
            assert len(counts) == 5 and len(set(counts.values())) == 1


def test_each_side_of_a_pair_may_be_the_head_and_end_the_sentence(folder: Path) -> None:
    examples = read(MnreReader, folder)["train"]
    pairs = [(x.relations[0].head, x.relations[0].tail, len(x.tokens)) for x in examples]
    assert {h.start < t.start for h, t, _ in pairs} == {True, False}
    assert any(n in (h.end, t.end) for h, t, n in pairs)


def shown_type(example: Example) -> str | None:
    return next(
        (s.label for s in example.spans if " ".join(example.tokens[s.start : s.end]) in AMBIGUOUS), None
    )


def shown_relation(example: Example) -> str | None:
    label = example.relations[0].label
    return None if label == "/per/loc/place_of_birth" else label


@pytest.mark.parametrize(
    ("reader", "shown", "position"),
    [(ConllImagesReader, shown_type, 0), (ConllImagesReader, shown_type, 1), (MnreReader, shown_relation, 0)],
)
def test_the_mean_colours_of_a_2_by_2_grid_tell_what_a_picture_shows(
    folder: Path, reader: type[Reader], shown: Any, position: int
) -> None:
    """Least squares on twelve numbers: a random network with a pooled grid sees at least as much."""
    splits = read(reader, folder)
    pixels: dict[str, list[Any]] = {"train": [], "test": []}
    labels: dict[str, list[str]] = {"train": [], "test": []}
    for split in ("train", "test"):
        for example in splits[split]:
            if shown(example) and len(example.images) > position:
                small = open_image(example.images[position]).resize((2, 2), 4)
                pixels[split].append([*np.asarray(small).reshape(-1) / 255, 1])
                labels[split].append(shown(example))
    known = sorted(set(labels["train"]))
    assert set(labels["test"]) == set(known)
    targets = np.eye(len(known))[[known.index(x) for x in labels["train"]]]
    weights = np.linalg.lstsq(np.array(pixels["train"]), targets, rcond=None)[0]
    guesses = (np.array(pixels["test"]) @ weights).argmax(1)
    accuracy = np.mean([known[g] == x for g, x in zip(guesses, labels["test"], strict=True)])
    assert accuracy > 0.9


def test_overrides_leave_a_recipe_its_own_options(folder: Path) -> None:
    renamed = read(ConllImagesReader, folder, rename={"OTHER": "MISC"}, blank_images=True)
    labels = {s.label for x in renamed["train"] for s in x.spans}
    assert labels == {"PER", "LOC", "ORG", "MISC"}
    assert all(i.path is None for x in renamed["test"] for i in x.images)


def test_a_finished_sample_is_left_alone_and_a_foreign_folder_refused(tmp_path: Path) -> None:
    calls: list[Path] = []

    def write(folder: Path) -> None:
        calls.append(folder)
        (folder / "x.txt").write_text("x")

    for _ in range(2):
        assert written_once(tmp_path / "a", write) == tmp_path / "a"
    assert len(calls) == 1
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").touch()
    with raises("file.unwritable"):
        written_once(tmp_path / "b", write)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_crash_leaves_nothing_behind(tmp_path: Path) -> None:
    def crash(folder: Path) -> None:
        (folder / "half.txt").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written_once(tmp_path / "a", crash)
    assert list(tmp_path.iterdir()) == []


def _sample(folder: Path) -> dict[str, Any]:
    return MnreReader.sample(folder, 7)


def test_two_processes_write_one_sample(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(_sample, [tmp_path, tmp_path])
    assert first == second
    assert [p.name for p in tmp_path.iterdir()] == ["pairs-v1-7"]
    assert list(MnreReader(**first["test"]))
