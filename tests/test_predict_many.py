"""Many texts from Python: columns, pictures from memory, answers in order and as a table; what a loaded model says."""

from __future__ import annotations

import builtins
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import mmkit
from mmkit.inference import predictor as predictors
from mmkit.inference.given_images import GivenImages
from mmkit.runs.folder import Run
from mmkit.tasks.answers import Answers
from mmkit.tasks.joint import JointAnswer
from mmkit.tasks.link import Link, LinkAnswer
from raising import raises

TEXTS = ["Jordan met Paris Hilton in Rome", "hi", "nobody was there that night at all, said Ada", "Bob"]


@pytest.fixture(scope="module")
def model(tagger: Path) -> mmkit.Predictor:
    return mmkit.load(tagger, device="cpu")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    pixels = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(path)
    return path


def found(answer: Any) -> list[tuple[Any, ...]]:
    return [(e.start, e.end, e.label, round(e.score, 4)) for e in answer.entities]


def test_answers_come_in_order_and_are_those_of_single_texts(model, photo):
    images = [photo, None, str(photo), None]
    answers = list(model.predict_many(TEXTS, images, batch_size=2))
    assert [answer.id for answer in answers] == ["input-0", "input-1", "input-2", "input-3"]
    assert [answer.text for answer in answers] == TEXTS
    alone = [model.predict(text, [image]) for text, image in zip(TEXTS, images, strict=True)]
    assert [found(a) for a in answers] == [found(a) for a in alone]
    assert any(answer.entities for answer in answers)
    assert answers[0].images == (str(photo),) and answers[1].images == ()
    assert answers[1].without_image and not answers[0].without_image


def test_a_picture_is_the_same_whatever_it_is_given_as(model, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    picture = Pillow.open(photo)
    raw = photo.read_bytes()
    forms = [photo, mmkit.Image(str(photo)), picture, raw, memoryview(raw), np.asarray(picture)]
    forms += [{"bytes": raw, "path": None}, {"bytes": None, "path": str(photo)}, [photo]]
    answers = list(model.predict_many([TEXTS[0]] * len(forms), forms))
    assert [found(a) for a in answers] == [found(model.predict(TEXTS[0], [photo]))] * len(forms)
    assert not any(answer.without_image for answer in answers)
    assert answers[2].images == ("image 0 of input-2 (in memory)",)
    assert found(model.predict(TEXTS[0], [picture])) == found(answers[0])
    assert list(tmp_path.iterdir()) == [], "the files of pictures from memory are gone"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_pictures_of_any_mode_are_as_their_files(mode, photo, tmp_path):
    """What Pillow's image becomes is what the file of it would become, upright."""
    from mmkit.data.images import open_image

    picture = Pillow.open(photo).convert("I" if mode == "I;16" else mode)
    with GivenImages() as pictures:
        (path,) = pictures.of(picture, "x")
        shown = open_image(mmkit.Image(str(path)))
    assert shown.size == (60, 40) and shown.mode == "RGB"
    turned = Pillow.open(photo)
    turned.getexif()[0x0112] = 6
    with GivenImages() as pictures:
        (path,) = pictures.of(turned, "x")
        assert open_image(mmkit.Image(str(path))).size == (40, 60)


def test_nothing_is_no_picture(model):
    pandas = pytest.importorskip("pandas")
    for nothing in (None, float("nan"), np.float64("nan"), pandas.NA, [], [None], [float("nan")]):
        (answer,) = model.predict_many(["Jordan again"], [nothing])
        assert answer.images == () and answer.without_image


def test_columns_are_read_lazily(model, monkeypatch):
    monkeypatch.setattr(predictors, "CHUNK", 2)
    taken: list[int] = []

    def texts() -> Iterator[str]:
        for number in range(5):
            taken.append(number)
            yield f"Jordan number {number}"

    answers = model.predict_many(texts())
    assert taken == []
    assert next(answers).tokens[-1] == "0" and taken == [0, 1]
    assert [answer.tokens[-1] for answer in answers] == ["1", "2", "3", "4"]
    assert list(model.predict_many([])) == []


def test_many_pictures_from_memory_are_not_kept_together(model, photo, monkeypatch):
    monkeypatch.setattr(predictors, "MOST_BYTES", 1)
    kept: list[int] = []
    close = GivenImages.close
    monkeypatch.setattr(GivenImages, "close", lambda self: (kept.append(len(self.names)), close(self))[1])
    answers = list(model.predict_many(TEXTS, [photo.read_bytes()] * 4))
    assert len(answers) == 4 and max(kept) == 1


def test_columns_of_the_usual_libraries(model, photo):
    pandas, datasets = pytest.importorskip("pandas"), pytest.importorskip("datasets")
    pyarrow = pytest.importorskip("pyarrow")
    expected = [found(a) for a in model.predict_many(TEXTS, [photo, None, None, photo])]
    paths = [str(photo), None, None, str(photo)]
    table = pandas.DataFrame({"text": TEXTS, "photo": paths})
    arrow = pyarrow.table({"text": TEXTS, "photo": paths})
    hub = datasets.Dataset.from_dict({"text": TEXTS, "photo": paths})
    hub = hub.cast_column("photo", datasets.Image())
    polars = pytest.importorskip("polars").DataFrame({"text": TEXTS, "photo": paths})
    for rows in (table, arrow, hub, polars):
        assert [found(a) for a in model.predict_many(rows["text"], rows["photo"])] == expected
        with raises("input.column") as caught:
            model.predict_many(rows)
        assert 'texts=table["NAME"]' in caught.value.hint


def test_tokens_are_one_text_of_many(model):
    (one, other) = model.predict_many([["Jordan", "!"], "Jordan !"])
    assert one.tokens == other.tokens and found(one) == found(other)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ({"texts": "Jordan"}, "input.text", "one sentence"),
        ({"texts": 3}, "input.column", "not a int"),
        ({"texts": ["a"], "images": "photo.jpg"}, "input.images", "one path"),
        ({"texts": ["a"], "images": np.zeros((4, 4, 3), np.uint8)}, "input.images", "one picture"),
        ({"texts": ["a", "b"], "images": [None]}, "input.column", "2 values and images has 1"),
        ({"texts": ["a"], "batch_size": 0}, "input.batch-size", "0"),
        ({"texts": ["a"], "mention": ["a"]}, "input.not-for-task", "mention"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(model, arguments, code, says):
    with raises(code, match=says):
        model.predict_many(**arguments)


@pytest.mark.parametrize(
    ("texts", "images", "code", "says"),
    [
        (["a", None], None, "input.text", "input-1: the text is missing"),
        (["a", float("nan")], None, "input.text", "input-1"),
        (["a", 3], None, "input.text", "input-1"),
        (["a", ["some words", "more"]], None, "input.text", "input-1"),
        (["a", "b"], iter([None]), "input.column", "images ends after 1 values, and texts goes on"),
        (["a", "b"], [None, 3], "input.images", "image 0 of input-1"),
        (["a"], [np.zeros((2, 2, 3))], "input.images", "float64"),
        (["a"], [np.zeros((3, 9, 9), np.uint8)], "input.images", r"\[3, 9, 9\]"),
        (["a"], [b""], "image.empty", "image 0 of input-0"),
        (["a"], [b"<html>"], "image.format", "image 0 of input-0"),
        (["a"], [{"name": "x"}], "input.images", "dict"),
        (["a"], ["nowhere.jpg"], "image.missing", "input-0: nowhere.jpg"),
    ],
)
def test_what_is_wrong_with_one_text_names_it(model, texts, images, code, says):
    with raises(code, match=says):
        list(model.predict_many(texts, images))


def test_broken_pictures_from_memory_may_be_blank(tagger):
    model = mmkit.load(tagger, device="cpu")
    model.missing_images = "blank"
    assert len(list(model.predict_many(["a", "b"], [b"no picture", None]))) == 2
    assert list(model.replaced) == ["image 0 of input-0 (in memory)"]


def test_one_picture_is_no_list_of_pictures(model, photo):
    for picture in (Pillow.open(photo), photo.read_bytes(), np.zeros((4, 4, 3), np.uint8)):
        with raises("input.images") as caught:
            model.predict("Jordan", images=picture)
        assert caught.value.hint == "images=[image]"


# As a table


def test_answers_are_a_table(model):
    pytest.importorskip("pandas")
    entities = [e for answer in model.predict_many(TEXTS) for e in answer.entities]
    frame = model.predict_many(TEXTS).to_frame()
    assert list(frame["label"]) == [e.label for e in entities] and len(frame) == len(entities) > 0
    assert list(frame.columns) == [
        *("id", "field", "text", "label", "start", "end", "start_char", "end_char", "regions", "score")
    ]
    one = model.predict(TEXTS[0])
    assert list(one.to_frame()["start"]) == [e.start for e in one.entities]
    assert set(one.to_frame()["field"]) <= {"entities"}
    assert LinkAnswer.columns()[:4] == ["id", "mention", "mention_span", "field"]
    link = Link(entity="Q1", name="Rome", description="", score=0.5)
    answer = LinkAnswer(id="x", text="a", tokens=("a",), images=(), mention="a", links=(link,))
    (row,) = Answers(iter([answer]), LinkAnswer).to_frame().to_dict("records")
    assert row.pop("mention_span") is None
    assert row == {"id": "x", "mention": "a", "field": "links", **link.to_dict(), "description": ""}
    both = list(Answers(iter([]), JointAnswer).to_frame().columns)
    assert {"text", "tail.end", "label", "score"} <= set(both) and len(both) == len(set(both))


def test_without_pandas_a_table_is_one_message(model, monkeypatch):
    imported = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with raises("part.no-pandas") as caught:
        model.predict("Jordan").to_frame()
    assert "pip install pandas" in caught.value.hint


# What a model says of itself


def test_a_model_says_what_it_is(model, tagger):
    lines = repr(model).splitlines()
    assert lines[0] == f"mmkit.Predictor of {tagger}"
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[1:]}
    assert said["task"] == "entities" and said["device"] == "cpu"
    types = Run(tagger).labels()["types"]
    assert said["labels"] == f"{len(types)} types: {', '.join(types)}"
    assert "text (mmkit.transformer.v1 " in said["encoders"] and "vision (mmkit.timm.v1 " in said["encoders"]
    score = Run(tagger).facts()["figures"]["dev"]["spans.f1"]
    assert said["dev"] == f"spans.f1 {score:.4f}"
    assert model.figures["dev"]["spans.f1"] == score
    without = mmkit.Predictor(model.model, model.recipe, "cpu")
    assert "\n  dev " in repr(model) and "\n  dev " not in repr(without)
    assert "not taken yet" in repr(model.predict_many(["a"]))
