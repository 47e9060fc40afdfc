"""Captions: of a model without a question, or of the authors' files."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as Pillow
from transformers import Blip2ForConditionalGeneration, Blip2Processor

from mmkit.annotators.run import annotate
from mmkit.data.conll import ConllImagesReader
from mmkit.data.types import Example, Image
from mmkit.testing import check_annotator, check_recipe, train_on_sample
from mmkit_chat.blip2_stand_in import save_blip2
from mmkit_pgim.caption_file import read_captions
from mmkit_pgim.captions import Captions
from mmkit_pgim.notes import CAPTION
from raising import raises


@pytest.fixture(autouse=True)
def _own(own_environment: None) -> None: ...


def post(folder: Path, name: str, colour: tuple[int, int, int] = (10, 10, 10)) -> Example:
    path = folder / f"{name}.jpg"
    picture = Pillow.new("RGB", (40, 30), colour)
    picture.paste((255, 200, 0), (5, 8, 20, 25))
    picture.save(path)
    return Example.from_tokens(name, ["Jordan"], images=(Image(str(path)),))


def test_a_model_continues_an_empty_text(tmp_path: Path) -> None:
    model = tmp_path / "blip2"
    model.mkdir()
    save_blip2(model, 1, ["Jordan scored in Paris", "a river"])
    posts = [post(tmp_path, "a"), post(tmp_path, "b", (200, 20, 20)), post(tmp_path, "c", (0, 90, 250))]
    found = [
        x.notes.get(CAPTION, "")
        for x in annotate(Captions(str(model), max_new_tokens=6, batch_size=2), posts)
    ]
    processor = Blip2Processor.from_pretrained(str(model))
    network = Blip2ForConditionalGeneration.from_pretrained(str(model))
    expected = []
    for x in posts:
        pixels = processor(images=Pillow.open(str(x.images[0].path)), return_tensors="pt")
        tokens = network.generate(**pixels, max_new_tokens=6, do_sample=False)  # captioning: no text at all
        expected.append(processor.batch_decode(tokens, skip_special_tokens=True)[0].strip())
    assert found == expected and any(found)


def file_of(folder: Path, text: str) -> str:
    (folder / "captions.txt").write_text(text, encoding="utf-8")
    return str(folder / "captions.txt")


def test_captions_of_a_file_are_found_by_the_name_of_the_photo(tmp_path: Path) -> None:
    file = file_of(tmp_path, "16_05_1.jpg :now: a dog\n\n2.jpg :\n3.jpg :a cat \n")
    posts = [
        Example.from_tokens(name, ["a"], images=(Image(f"{tmp_path}/nowhere/{name}.jpg"),))
        for name in ("16_05_1", "2", "3")
    ]
    posts.append(Example.from_tokens("4", ["a"], images=(Image(None),)))
    captions = Captions(file=file)
    captions.check_there()
    captions.check_computable()
    assert [x.notes.get(CAPTION) for x in annotate(captions, posts)] == ["now: a dog", None, "a cat", None]


def test_another_file_is_read_anew(tmp_path: Path) -> None:
    x = Example.from_tokens("1", ["a"], images=(Image("1.jpg"),))
    for caption in ("one", "two"):
        captions = Captions(file=file_of(tmp_path, f"1.jpg :{caption}\n"))
        assert annotate(captions, [x])[0].notes[CAPTION] == caption


def test_a_photo_that_the_file_does_not_have_is_named(tmp_path: Path) -> None:
    file = file_of(tmp_path, "1.jpg :one\n")
    posts = [Example.from_tokens(name, ["a"], images=(Image(f"{name}.jpg"),)) for name in "12"]
    with raises("annotator.records-failed", match=r"2: .*captions\.txt has no caption of the photo '2'"):
        annotate(Captions(file=file), posts)
    going_on = Captions(file=file, keep_going=True)
    assert [CAPTION in x.notes for x in annotate(going_on, posts)] == [True, False]
    assert list(going_on.failures) == ["2"]


@pytest.mark.parametrize(
    ("text", "code", "match"),
    [
        ("1.jpg :one\na line\n", "pgim.caption-line", r"captions\.txt:2"),
        ("1.png :one\n", "pgim.caption-line", r"captions\.txt:1"),
        (".jpg :one\n", "pgim.caption-line", r"captions\.txt:1"),
        ("1.jpg :one\n1.jpg :two\n", "pgim.second-caption", r"captions\.txt:2"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, text: str, code: str, match: str) -> None:
    with raises(code, match=match):
        Captions(file=file_of(tmp_path, text)).check_there()


def test_a_file_that_is_not_there_says_where_it_comes_from(tmp_path: Path) -> None:
    with raises("file.missing", match="ImageCaption"):
        Captions(file=str(tmp_path / "none.txt")).check_there()


def test_the_contract(tmp_path: Path) -> None:
    check_annotator("pgim.captions.v1", folder=tmp_path)


@pytest.mark.real_data
@pytest.mark.parametrize(("year", "number"), [("15", 8288), ("17", 4819)])
def test_the_published_captions_are_those_of_all_posts(shared: Path, year: str, number: int) -> None:
    file = shared / "data" / "captions" / f"BLIP2_{year}.txt"
    captions = read_captions(file)
    assert len(captions) == number
    assert [name for name, caption in captions.items() if not caption] == (
        ["71406", "770560"] if year == "15" else []
    )
    root = str(shared / "data" / f"twitter20{year}")
    for split in ("train", "valid", "test"):
        posts = ConllImagesReader(root, f"{split}.txt", images=None)
        assert {x.id.partition("#")[0] for x in posts} <= captions.keys()


@pytest.mark.real_data
def test_the_published_captions_are_found_by_the_photos_of_posts(shared: Path) -> None:
    file = shared / "data" / "captions" / "BLIP2_17.txt"
    posts = list(ConllImagesReader(str(shared / "data" / "twitter2017"), "valid.txt"))[:100]
    captions = read_captions(file)
    annotated = annotate(Captions(file=str(file)), posts)
    assert [x.notes[CAPTION] for x in annotated] == [captions[x.id.partition("#")[0]] for x in posts]


@pytest.mark.matrix
def test_photos_decide_through_their_captions(tmp_path: Path) -> None:
    """With blank photos in training, no post has a context, which is refused; so they are blank in the test alone."""
    with raises("more.no-context", match=r"pgim\.caption"):
        train_on_sample("pgim_twitter15_captions", tmp_path / "none", {"data.train.blank_images": True})
    check_recipe("pgim_twitter15_captions", folder=tmp_path / "whole", at_least=0.9, resumes=False)
    blank = train_on_sample("pgim_twitter15_captions", tmp_path / "blank", {"data.test.blank_images": True})
    assert blank["figures"]["test"]["spans.f1"] <= 0.7


def test_captions_stored_before_blip2_moved_to_another_package_are_found() -> None:
    assert Captions("a/b", revision="1").fingerprint() == (
        '{"max_new_tokens": 20, "model": "a/b", "part": "pgim.captions.v1", "prompt": "", "revision": "1"}'
    )
