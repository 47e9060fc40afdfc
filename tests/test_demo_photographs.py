"""`make demo-real`: what it makes of packages of Debian. The packages here are small stand-ins, made by the tests."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image as Pillow

from debian_packages import DEMO, demo_modules, resource_file, write_package
from mmkit.data.jsonl import JsonlReader
from mmkit.data.types import Example
from mmkit.errors import DataError
from mmkit.loading.stand_ins import tiny
from mmkit.recipe import load_recipe
from mmkit.training.train import train

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")

STAMPS, ANIMALS = "usr/share/tuxpaint/stamps", "gcompris/src/activities/explore_farm_animals/resource/animals"
README = """Copyright: Timothée Giet, 2020
License: CC-BY-SA 4.0
Files:
cow.svg

Copyright: Bernard Spragg
License: CC0-1.0
Source: https://commons.wikimedia.org/wiki/File:Aylesbury_Duck.jpg
Files:
duck.webp
hen.webp

Copyright: Somebody
License: CC-BY-NC 4.0
Files:
goose.webp

Copyright: Ann Other
License: CC BY-SA 3.0
cow.webp
Comment: from https://commons.wikimedia.org/wiki/File:Cow.jpg
"""


@pytest.fixture(scope="module")
def demo() -> Iterator[SimpleNamespace]:
    yield from demo_modules()


def picture(colour: str, form: str) -> bytes:
    made = io.BytesIO()
    Pillow.new("RGBA", (40, 30), colour).save(made, form)
    return made.getvalue()


def stamps(folder: Path, names: Sequence[str], **more: bytes) -> Path:
    files = {f"./{STAMPS}/{name}.png": picture("brown", "PNG") for name in names}
    files["./usr/share/doc/tuxpaint-stamps-default/copyright"] = b"License: GPL-2"
    return write_package(folder / "tuxpaint-stamps-default_1_all.deb", {**files, **more})


def activities(folder: Path, names: Sequence[str]) -> Path:
    inside = {f"{ANIMALS}/{name}.webp": picture("white", "WEBP") for name in names}
    inside[f"{ANIMALS}/README"] = README.encode()
    files = {
        "./usr/share/gcompris-qt/rcc/explore_farm_animals.rcc": resource_file(inside),
        "./usr/share/doc/gcompris-qt-data/copyright": b"License: AGPL-3",
    }
    return write_package(folder / "gcompris-qt-data_1_all.deb", files)


LIST = """# a comment
train BIRD tuxpaint-stamps-default animals/birds: hen rooster
train FOOD tuxpaint-stamps-default food/fruit: pear fig plum grape melon lime date
dev BIRD tuxpaint-stamps-default animals/birds: owl
dev FOOD tuxpaint-stamps-default food/fruit: apple
test FOOD tuxpaint-stamps-default food/fruit: lemon

test BIRD gcompris-qt-data explore_farm_animals/resource/animals: duck hen
test MAMMAL gcompris-qt-data explore_farm_animals/resource/animals: cow
"""
FOUND = [*(f"animals/birds/{name}" for name in ("hen", "rooster", "owl"))] + [
    f"food/fruit/{name}"
    for name in ("pear", "fig", "plum", "grape", "melon", "lime", "date", "apple", "lemon")
]


@pytest.fixture
def made(demo: SimpleNamespace, tmp_path: Path) -> Path:
    """A dataset of two small packages."""
    (tmp_path / "list.txt").write_text(LIST, encoding="utf-8")
    packages = [stamps(tmp_path, FOUND), activities(tmp_path, ["duck", "hen", "cow", "goose"])]
    (tmp_path / "photographs").mkdir()
    demo.prepare.write_dataset(
        tmp_path / "photographs", packages, demo.photographs.read_list(tmp_path / "list.txt")
    )
    return tmp_path / "photographs"


def examples(folder: Path, split: str) -> list[Example]:
    return [x for x in JsonlReader(str(folder), f"{split}.jsonl") if isinstance(x, Example)]


def test_the_list_has_enough_photographs_of_each_type_in_each_split(demo):
    listed = demo.photographs.read_list()
    numbers: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in listed:
        numbers[each.type][each.split] += 1
    assert len(listed) > 350 and len(numbers) == 8
    for type_, splits in numbers.items():
        assert splits["train"] > max(splits["dev"], splits["test"]) > 0 and splits["test"] >= 4, type_
    assert sum(splits["test"] for splits in numbers.values()) == 100


def test_the_page_tells_the_numbers_of_the_list(demo):
    page = (DEMO.parent / "docs" / "demo_real.md").read_text(encoding="utf-8")
    listed = demo.photographs.read_list()
    for type_ in [*dict.fromkeys(each.type for each in listed), "all"]:
        own = Counter(each.split for each in listed if type_ in (each.type, "all"))
        row = rf"^\| (`{type_}`.*|{type_}) \| {own['train']} \| {own['dev']} \| {own['test']} \|$"
        assert re.search(row, page, re.MULTILINE), type_
    packages = Counter(each.package for each in listed)
    assert f"{packages['tuxpaint-stamps-default']} of Tux Paint" in page
    assert f"{packages['gcompris-qt-data']} of GCompris" in page


def test_no_name_and_no_sentence_is_in_two_splits(demo):
    for told in (demo.sentences.NAMES, demo.sentences.PLACES, demo.sentences.SENTENCES):
        every = [text.casefold() for split in demo.photographs.SPLITS for text in told[split]]
        assert len(every) == len(set(every))
    every = [text.split() for split in demo.photographs.SPLITS for text in demo.sentences.SENTENCES[split]]
    assert all(text.count("{thing}") == 1 and text.count("{place}") < 2 and len(text) > 1 for text in every)
    words = {split: set(demo.sentences.names_of(split)) for split in demo.photographs.SPLITS}
    assert not words["train"] & words["test"] and not words["dev"] & words["test"]


@pytest.mark.parametrize(
    "line",
    [
        "train BIRD tuxpaint-stamps-default animals/birds",
        "some BIRD tuxpaint-stamps-default a: b",
        "x",
        "a b c d: e",
    ],
)
def test_a_wrong_line_of_the_list_is_named(demo, tmp_path, line):
    (tmp_path / "list.txt").write_text(f"# first\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"list\.txt:2: this is no line of the list"):
        demo.photographs.read_list(tmp_path / "list.txt")


def test_a_photograph_is_listed_once(demo, tmp_path):
    line = "train BIRD tuxpaint-stamps-default animals/birds: owl\n"
    (tmp_path / "list.txt").write_text(line + line.replace("train", "test"), encoding="utf-8")
    with pytest.raises(DataError, match=r"list\.txt:2: animals/birds/owl\.png is listed twice"):
        demo.photographs.read_list(tmp_path / "list.txt")


@needs_dpkg
def test_the_dataset_is_read_and_every_photograph_is_credited(made):
    with (made / "ATTRIBUTION.tsv").open(encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert set(rows) == {path.name for path in (made / "photos").iterdir()} and len(rows) == 15
    duck = rows["gcompris-explore_farm_animals-resource-animals-duck.webp"]
    assert (duck["author"], duck["licence"], duck["shows"]) == ("Bernard Spragg", "CC0-1.0", "BIRD")
    assert duck["source"].endswith("Aylesbury_Duck.jpg")
    cow = rows["gcompris-explore_farm_animals-resource-animals-cow.webp"]
    assert cow["author"] == "Ann Other" and cow["source"].startswith("from https://")
    assert rows["tuxpaint-animals-birds-owl.png"]["licence"] == "GPL-2.0-or-later"
    assert (made / "LICENCES-tuxpaint-stamps-default.txt").read_text() == "License: GPL-2"
    assert (made / "photos" / "tuxpaint-animals-birds-owl.png").read_bytes() == picture("brown", "PNG")
    by_split = {split: examples(made, split) for split in ("train", "dev", "test")}
    assert {split: len(found) for split, found in by_split.items()} == {"train": 36, "dev": 4, "test": 8}
    for found in by_split.values():
        for x in found:
            (image,) = x.images
            name = Path(str(image.path)).name
            things = [span for span in x.spans if span.label != "PLACE"]
            assert [span.label for span in things] == [rows[name]["shows"]]
            assert x.id.partition("#")[0] == Path(name).stem
    assert not {x.images[0].path for x in by_split["train"]} & {x.images[0].path for x in by_split["test"]}
    places = [x.text for found in by_split.values() for x in found for s in x.spans if s.label == "PLACE"]
    assert places


@needs_dpkg
def test_the_same_packages_give_the_same_dataset(demo, made, tmp_path):
    (tmp_path / "again").mkdir()
    packages = [tmp_path / "tuxpaint-stamps-default_1_all.deb", tmp_path / "gcompris-qt-data_1_all.deb"]
    listed = demo.photographs.read_list(tmp_path / "list.txt")
    demo.prepare.write_dataset(tmp_path / "again", packages, listed)
    for path in made.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(made)).read_bytes() == path.read_bytes(), path


@needs_dpkg
def test_what_is_missing_or_not_free_is_left_out_and_said(demo, tmp_path, capsys):
    (tmp_path / "list.txt").write_text(LIST.replace("duck hen", "duck goose"), encoding="utf-8")
    listed = demo.photographs.read_list(tmp_path / "list.txt")
    packages = [stamps(tmp_path, FOUND), activities(tmp_path, ["duck", "cow", "goose"])]
    (tmp_path / "one").mkdir()
    demo.prepare.write_dataset(tmp_path / "one", packages, listed)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].endswith(
        "gcompris-qt-data: explore_farm_animals/resource/animals/goose.webp"
    )
    assert not list((tmp_path / "one" / "photos").glob("*goose*"))
    packages[0] = stamps(tmp_path, FOUND[:-1])
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="2 of 15 photographs are missing"):
        demo.prepare.write_dataset(tmp_path / "other", packages, listed)


def test_files_that_the_demo_cannot_use_are_refused(demo, tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        demo.prepare.write_dataset(tmp_path, [tmp_path / "tuxpaint-stamps-default_1_all.deb"], [])
    (tmp_path / "other_1_all.deb").touch()
    with pytest.raises(
        DataError, match=r"the demo reads no package other\n.*tuxpaint-stamps-default and gcompris"
    ):
        demo.prepare.write_dataset(tmp_path, [tmp_path / "other_1_all.deb"], [])


def test_credits_are_those_of_the_paragraph(demo):
    found = demo.photo_credits.read_credits(README)
    assert {name: credit.author for name, credit in found.items()} == {
        "cow.svg": "Timothée Giet, 2020",
        "duck.webp": "Bernard Spragg",
        "hen.webp": "Bernard Spragg",
        "goose.webp": "Somebody",
        "cow.webp": "Ann Other",
    }
    assert demo.photo_credits.read_credits("License: CC0-1.0\nFiles:\nx.webp") == {}


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        *(
            (told, True)
            for told in ("Public Domain", "public-domain", "CC0-1.0", "CC-BY 4.0", "CC-BY-SA 3.0", "GPLv2+")
        ),
        *(
            (told, False)
            for told in ("CC-BY-NC 4.0", "CC BY-ND 2.0", "CC-BY-NC-SA 4.0", "CC-BY-SA-NC", "", "Free use")
        ),
    ],
)
def test_free_licences(demo, licence, free):
    assert demo.photo_credits.Credit("a", licence, "").is_free is free


@needs_dpkg
@pytest.mark.slow
def test_the_recipe_trains_on_the_dataset(made, tmp_path):
    recipe = load_recipe(DEMO / "photographs.cfg", {"paths.data": str(tmp_path), "training.epochs": 1})
    result = train(tiny(recipe), tmp_path / "run", quiet=True)
    assert 0 <= result.figures["test"]["spans.f1"] <= 1
    assert set(json.loads((tmp_path / "run" / "labels.json").read_text())["types"]) >= {
        "BIRD",
        "FOOD",
        "PLACE",
    }


@needs_dpkg
def test_the_command_says_what_is_wrong_in_one_message(tmp_path):
    (tmp_path / "tuxpaint-stamps-default_1_all.deb").write_bytes(b"no package")
    command = [sys.executable, str(DEMO / "prepare.py"), "--output", str(tmp_path / "out")]
    command += ["--package", str(tmp_path / "tuxpaint-stamps-default_1_all.deb")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "this is no whole Debian package" in done.stderr
    assert not list((tmp_path / "out").glob("*"))
