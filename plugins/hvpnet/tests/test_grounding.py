"""Grounded objects with tiny random detectors: boxes, the cache, crops, and photos that cannot be read."""

from __future__ import annotations

import json
import logging
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Pillow
from transformers import (
    BertConfig,
    BertTokenizer,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
    SwinConfig,
)

from mmkit.annotators.run import annotate
from mmkit.data.crops import CropTable
from mmkit.data.images import open_image
from mmkit.data.types import Example, Image
from mmkit.testing import check_annotator
from mmkit_hvpnet.detector import Detector, Found, most_salient
from mmkit_hvpnet.grounding import NOTE, GroundedObjects
from raising import raises


def save_owl(folder: Path) -> None:
    letters = string.ascii_lowercase
    pieces = ["!", *letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={p: i for i, p in enumerate(pieces)}, merges=[], model_max_length=16)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(pieces), "max_position_embeddings": 16, "pad_token_id": 0}
    config = Owlv2Config(
        text_config={**small, **text, "bos_token_id": 53, "eos_token_id": 54},
        vision_config={**small, "image_size": 48, "patch_size": 12},
        projection_dim=16,
    )
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    Owlv2Processor(Owlv2ImageProcessor(size={"height": 48, "width": 48}), tokenizer).save_pretrained(folder)


def save_grounding_dino(folder: Path) -> None:
    letters = string.ascii_lowercase
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *letters, *("##" + c for c in letters)]
    tokenizer = BertTokenizer(vocab={p: i for i, p in enumerate(pieces)}, model_max_length=64)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=32,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            window_size=2,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(pieces),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=12,
        max_text_len=64,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)


@pytest.fixture(scope="module", params=[save_owl, save_grounding_dino], ids=["owlv2", "grounding_dino"])
def any_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return _saved(request.param, tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _saved(save_owl, tmp_path_factory.mktemp("detector"))


def _saved(save: Callable[[Path], None], folder: Path) -> str:
    torch.manual_seed(0)
    save(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The phrases of every call of a detector."""
    seen: list[list[str]] = []
    detect = Detector.__call__

    def counted(self: Detector, picture: Any, phrases: Sequence[str], threshold: float) -> list[Found]:
        seen.append(list(phrases))
        return detect(self, picture, phrases, threshold)

    monkeypatch.setattr(Detector, "__call__", counted)
    return seen


def post(folder: Path, name: str, text: str, color: str = "red") -> Example:
    path = folder / f"{name}.jpg"
    Pillow.new("RGB", (60, 40), color).save(path)
    return Example.from_tokens(name, text.split(), images=(Image(str(path)),))


def test_adds_boxes_within_the_photo(any_model: str, tmp_path: Path) -> None:
    objects = GroundedObjects(any_model, threshold=0.0, overlap=1.0)
    (annotated,) = annotate(objects, [post(tmp_path, "a", "a red dog in the big city")])
    photo, *found = annotated.images
    assert photo.role == "photo"
    assert 1 <= len(found) <= 3
    assert [n["box"] for n in annotated.notes[NOTE]] == [list(image.box) for image in found]
    for image, note in zip(found, annotated.notes[NOTE], strict=True):
        left, top, right, bottom = image.box
        assert image.role == "object"
        assert 0 <= left < right <= 60
        assert 0 <= top < bottom <= 40
        assert open_image(image).size == (right - left, bottom - top)
        assert 0 <= note["score"] <= 1
    scores = [note["score"] for note in annotated.notes[NOTE]]
    assert scores == sorted(scores, reverse=True)


def test_full_stops_within_a_phrase_do_no_harm(any_model: str, tmp_path: Path) -> None:
    (annotated,) = annotate(GroundedObjects(any_model, threshold=0.0), [post(tmp_path, "a", "the U.S. flag")])
    assert len(annotated.images) > 1


def test_takes_no_more_objects_than_asked_for(model: str, tmp_path: Path) -> None:
    text = "dogs and cats and birds and cows"
    for limit in (0, 1, 2):
        objects = GroundedObjects(model, max_objects=limit, threshold=0.0, overlap=1.0)
        (annotated,) = annotate(objects, [post(tmp_path, "a", text)])
        assert len(annotated.images) == 1 + limit


def test_a_high_threshold_leaves_nothing(model: str, tmp_path: Path) -> None:
    example = post(tmp_path, "a", "red dogs")
    (annotated,) = annotate(GroundedObjects(model, threshold=1.0), [example])
    assert annotated.images == example.images
    assert annotated.notes == {NOTE: []}


def test_a_sentence_without_phrases_asks_no_detector(
    model: str, tmp_path: Path, calls: list[list[str]]
) -> None:
    (annotated,) = annotate(GroundedObjects(model), [post(tmp_path, "a", "is it ?")])
    assert len(annotated.images) == 1
    assert calls == []


def test_a_result_is_computed_once_and_survives_a_restart(
    model: str, tmp_path: Path, calls: list[list[str]]
) -> None:
    examples = [post(tmp_path, "a", "red dogs"), post(tmp_path, "b", "blue cats", "blue")]
    first = annotate(GroundedObjects(model, threshold=0.0), examples)
    assert calls == [["red dogs"], ["blue cats"]]
    assert annotate(GroundedObjects(model, threshold=0.0), examples) == first
    assert len(calls) == 2


def test_models_are_loaded_once(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = Detector.__init__

    def counted(self: Detector, name: str, *more: Any) -> None:
        loaded.append(name)
        load(self, name, *more)

    monkeypatch.setattr(Detector, "__init__", counted)
    objects = GroundedObjects(model)
    annotate(objects, [post(tmp_path, "a", "red dogs")])
    annotate(objects, [post(tmp_path, "b", "blue cats")])
    assert loaded == [model]


def test_other_words_photos_and_settings_are_computed_anew(
    model: str, tmp_path: Path, calls: list[list[str]]
) -> None:
    annotate(GroundedObjects(model), [post(tmp_path, "a", "red dogs")])
    annotate(GroundedObjects(model), [post(tmp_path, "a", "red cats")])
    annotate(GroundedObjects(model), [post(tmp_path, "a", "red dogs", "blue")])
    annotate(GroundedObjects(model, threshold=0.5), [post(tmp_path, "a", "red dogs")])
    assert len(calls) == 4


def test_the_store_knows_a_folder_by_its_files(model: str, tmp_path: Path) -> None:
    before = GroundedObjects(model).fingerprint()
    (Path(model) / "note.txt").write_text("changed")
    try:
        assert GroundedObjects(model).fingerprint() != before
    finally:
        (Path(model) / "note.txt").unlink()
    assert GroundedObjects(model).fingerprint() == before


def test_missing_and_broken_photos_have_no_objects_and_are_reported(
    model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, broken = post(tmp_path, "good", "red dogs"), post(tmp_path, "broken", "red dogs")
    Path(str(broken.images[0].path)).write_bytes(b"no picture")
    missing = Example.from_tokens("m", ["red", "dogs"], images=(Image(str(tmp_path / "missing.jpg")),))
    blank = Example.from_tokens("n", ["red", "dogs"], images=(Image(None),))
    for _ in range(2):  # the second time from the store
        objects = GroundedObjects(model, threshold=0.0)
        with caplog.at_level(logging.WARNING):
            annotated = annotate(objects, [good, broken, missing, blank])
        assert [len(x.images) > 1 for x in annotated] == [True, False, False, False]
        assert set(objects.unreadable) == {str(broken.images[0].path), str(missing.images[0].path)}
        assert "missing.jpg: no such image" in caplog.text
        caplog.clear()


def test_a_photo_that_turns_up_later_is_looked_at(model: str, tmp_path: Path) -> None:
    objects = GroundedObjects(model, threshold=0.0)
    missing = Example.from_tokens("a", ["red", "dogs"], images=(Image(str(tmp_path / "a.jpg")),))
    (before,) = annotate(objects, [missing])
    post(tmp_path, "a", "red dogs")
    (after,) = annotate(objects, [missing])
    assert len(before.images) < len(after.images)


def test_writes_crops_and_the_table_that_the_readers_read(model: str, tmp_path: Path) -> None:
    crops = tmp_path / "crops"
    train, dev = post(tmp_path, "a", "red dogs and cats"), post(tmp_path, "b", "birds", "blue")
    annotated = [
        *annotate(GroundedObjects(model, threshold=0.0, overlap=1.0, crops=str(crops)), [train]),
        *annotate(GroundedObjects(model, threshold=0.0, overlap=1.0, crops=str(crops)), [dev]),
    ]
    table = CropTable.load(crops / "crops.json", str(crops))
    for example in annotated:
        files = table.files(f"{example.id}.jpg")
        sizes = [Pillow.open(file).size for file in files]
        assert sizes == [open_image(image).size for image in example.images[1:]]
    assert set(json.loads((crops / "crops.json").read_text())) == {"a.jpg", "b.jpg"}


def test_it_keeps_the_contract(model: str, tmp_path: Path) -> None:
    check_annotator("hvpnet.grounded_objects.v1", {"model": model, "threshold": 0.0}, folder=tmp_path)


def test_an_unknown_detector_is_named(tmp_path: Path) -> None:
    objects = GroundedObjects(str(tmp_path / "nothing"))
    with raises("part.model-unloadable", match="the detector"):
        annotate(objects, [post(tmp_path, "a", "red dogs")])


def test_each_phrase_gives_its_best_box_and_overlapping_ones_make_way() -> None:
    dog, cat = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)
    near_dog = (0.0, 0.0, 10.0, 9.0)
    objects = [
        Found(dog, 0.9, "dog"),
        Found(cat, 0.8, "dog"),
        Found(near_dog, 0.7, "pet"),
        Found(cat, 0.6, "cat"),
    ]
    assert most_salient(objects, 3, overlap=0.7) == [objects[0], objects[3]]
    assert most_salient(objects, 3, overlap=1.0) == [objects[0], objects[2], objects[3]]
    assert most_salient(objects, 1, overlap=0.7) == [objects[0]]
    assert most_salient([], 3, overlap=0.7) == []
