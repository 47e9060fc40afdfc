"""Profiles of parts: tiny image classifiers, and a stand-in for the optional face analyser."""

from __future__ import annotations

import importlib.util
import logging
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from transformers import AutoImageProcessor, AutoModelForImageClassification

from mmkit.annotators.run import annotate
from mmkit.data.images import open_image
from mmkit.data.types import Example, Image
from mmkit.encoders.sources import texts_of
from mmkit_dwe.profiles import NOTE, Profiles
from mmkit_dwe.standins import save_classifier
from raising import raises

DEEPFACE = '''
"""Mimics `DeepFace.analyze` as deepface 0.0.103 documents it: a list with a dictionary for each face.

What it sees is the colour of the picture's corner: red a man, green a woman with a smaller face beside her,
blue no face; black breaks it. `calls` holds the arguments of each call.
"""

calls = []

LOOKS = {
    (255, 0, 0): [("Man", "white", 31, "happy", 8)],
    (0, 255, 0): [("Man", "asian", 12, "sad", 4), ("Woman", "black", 44, "neutral", 9)],
}


def analyze(
    img_path,
    actions=("emotion", "age", "gender", "race"),
    enforce_detection=True,
    detector_backend="opencv",
    align=True,
    expand_percentage=0,
    silent=False,
    anti_spoofing=False,
):
    calls.append({"actions": actions, "detector_backend": detector_backend, "shape": img_path.shape})
    colour = tuple(int(c) for c in img_path[0, 0, ::-1])  # pixels are BGR
    if colour == (0, 0, 0):
        raise OSError("no weights")
    faces = LOOKS.get(colour, [])
    if detector_backend == "skip" or not faces:
        if enforce_detection and detector_backend != "skip":
            raise ValueError("Face could not be detected")
        faces = [("Man", "white", 50, "angry", 0)]
    return [face(*f, confidence=0.9 if f[4] else 0, actions=actions) for f in faces]


def face(gender, race, age, emotion, side, confidence, actions):
    told = {
        "gender": {"dominant_gender": gender, "gender": {"Man": 50.0, "Woman": 50.0}},
        "race": {"dominant_race": race, "race": {race: 100.0}},
        "age": {"age": age},
        "emotion": {"dominant_emotion": emotion, "emotion": {emotion: 100.0}},
    }
    seen = {"region": {"x": 0, "y": 0, "w": side, "h": side}, "face_confidence": confidence}
    return seen | {key: value for action in actions for key, value in told[action].items()}
'''

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def deepface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for the package deepface on the path, for one test."""
    package = tmp_path / "site" / "deepface"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "DeepFace.py").write_text(textwrap.dedent(DEEPFACE))
    monkeypatch.syspath_prepend(str(package.parent))
    for name in ("deepface", "deepface.DeepFace"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    from deepface import DeepFace

    yield DeepFace
    for name in ("deepface", "deepface.DeepFace"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("classifiers")
    save_classifier(folder / "scene", 1, ["indoors", "outdoors", "stage"])
    save_classifier(folder / "gender", 2, ["Man", "Woman"])
    return {name: str(folder / name) for name in ("scene", "gender")}


def scene(folder: Path, *colours: tuple[int, int, int]) -> Example:
    """A photo of vertical stripes, 10 pixels each, and an object for each stripe."""
    stripes = np.array([colours], dtype=np.uint8).repeat(10, axis=1).repeat(8, axis=0)
    path = folder / f"{'_'.join(map(str, np.array(colours).ravel()))}.png"
    Pillow.fromarray(stripes).save(path)
    boxes = [(10.0 * i, 0.0, 10.0 * i + 10, 8.0) for i in range(len(colours))]
    return with_parts(Image(str(path)), *(Image(str(path), "object", box) for box in boxes))


def with_parts(*images: Image, id: str = "a") -> Example:
    return Example.from_tokens(id, ["who"], images=images)


def noise(folder: Path, count: int) -> Example:
    images = []
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        images.append(Image(str(folder / f"noise{i}.png"), "object"))
        Pillow.fromarray(pixels).save(str(images[-1].path))
    return with_parts(*images)


def test_a_face_becomes_a_profile_in_the_authors_words(deepface: Any, tmp_path: Path) -> None:
    (x,) = annotate(Profiles(), [scene(tmp_path, RED, BLUE, GREEN)])
    assert x.notes[NOTE] == [
        "gender: Man, race: white, age: 31, emotion: happy",
        "",
        "gender: Woman, race: black, age: 44, emotion: neutral",  # the larger face
    ]
    assert [call["shape"] for call in deepface.calls] == [(8, 10, 3)] * 3
    assert texts_of(x, f"note:{NOTE}") == [text for text in x.notes[NOTE] if text]


def test_attributes_and_the_face_detector_may_be_chosen(deepface: Any, tmp_path: Path) -> None:
    example = scene(tmp_path, BLUE)
    (x,) = annotate(Profiles(attributes=("age", "gender"), face_detector="skip"), [example])
    assert x.notes[NOTE] == ["age: 50, gender: Man"]
    assert deepface.calls[0]["actions"] == ["age", "gender"]
    assert deepface.calls[0]["detector_backend"] == "skip"


def test_a_failing_analyser_is_named_with_its_reason(deepface: Any, tmp_path: Path) -> None:
    with raises("dwe.face-analyser", match="OSError: no weights"):
        annotate(Profiles(), [scene(tmp_path, BLACK)])


def test_parts_are_looked_at_once(deepface: Any, tmp_path: Path) -> None:
    example = scene(tmp_path, RED, GREEN)
    first = annotate(Profiles(), [example, with_parts(*example.images, id="b")])
    assert first[0].notes == first[1].notes
    assert annotate(Profiles(), [example]) == first[:1]
    assert len(deepface.calls) == 2
    annotate(Profiles(attributes=("age",)), [example])
    assert len(deepface.calls) == 4


def test_examples_without_parts_have_no_profiles(deepface: Any, tmp_path: Path) -> None:
    photo = scene(tmp_path, RED).images[0]
    annotated = annotate(Profiles(), [with_parts(photo), with_parts(photo, Image(None, "object"), id="b")])
    assert [x.notes[NOTE] for x in annotated] == [[], [""]]
    assert deepface.calls == []


def test_broken_and_missing_parts_have_an_empty_profile_and_are_reported(
    deepface: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken, missing = tmp_path / "broken.png", tmp_path / "missing.png"
    broken.write_bytes(b"no picture")
    good = scene(tmp_path, RED).images[1]
    example = with_parts(Image(str(broken), "object"), good, Image(str(missing), "object"))
    for _ in range(2):  # the second time from the store
        profiles = Profiles()
        with caplog.at_level(logging.WARNING):
            (x,) = annotate(profiles, [example])
        assert [bool(text) for text in x.notes[NOTE]] == [False, True, False]
        assert set(profiles.unreadable) == {str(broken), str(missing)}
        assert "missing.png: no such image; it has no profile" in caplog.text
        caplog.clear()


@pytest.mark.skipif(importlib.util.find_spec("deepface") is not None, reason="deepface is installed")
def test_without_the_extra_the_error_says_what_to_install_and_what_else_there_is(tmp_path: Path) -> None:
    with raises("part.needs-package") as caught:
        annotate(Profiles(), [scene(tmp_path, RED)])
    with raises("part.needs-package"):
        Profiles().check_computable()
    for way in ("mmkit-dwe[faces]", "classifiers", "dwe.published_parts.v1"):
        assert way in caught.value.hint


def test_classifiers_tell_what_transformers_tells(classifiers: dict[str, str], tmp_path: Path) -> None:
    example = noise(tmp_path, 40)  # more than go through a classifier at a time
    (x,) = annotate(Profiles(classifiers=classifiers), [example])
    expected = [
        ", ".join(f"{name}: {told(model, image)}" for name, model in classifiers.items())
        for image in example.images
    ]
    assert x.notes[NOTE] == expected
    assert len(set(expected)) > 1


def told(model: str, image: Image) -> str:
    """The label that transformers gives a picture alone."""
    network = AutoModelForImageClassification.from_pretrained(model).eval()
    inputs = AutoImageProcessor.from_pretrained(model)(images=[open_image(image)], return_tensors="pt")
    with torch.inference_mode():
        return network.config.id2label[int(network(**inputs).logits.argmax())]


def test_the_order_of_classifiers_and_their_files_are_settings(classifiers: dict[str, str]) -> None:
    one = Profiles(classifiers=classifiers).fingerprint()
    assert Profiles(classifiers=dict(reversed(classifiers.items()))).fingerprint() != one
    assert Profiles(classifiers={**classifiers, "scene": classifiers["gender"]}).fingerprint() != one
    assert Profiles(classifiers=classifiers, revisions={"scene": "v2"}).fingerprint() != one
    assert Profiles(classifiers=classifiers, batch=3).fingerprint() == one
    assert Profiles().fingerprint() != one


def test_a_model_that_is_no_classifier_is_named_with_its_attribute(tmp_path: Path) -> None:
    with raises("part.model-unloadable", match=r"image classifier of 'age' '.*nothing'"):
        annotate(Profiles(classifiers={"age": str(tmp_path / "nothing")}), [noise(tmp_path, 1)])


def test_settings_that_name_nothing_are_refused(classifiers: dict[str, str]) -> None:
    with raises("part.setting", match="deepface gives no attribute 'sex'"):
        Profiles(attributes=("sex",))
    with raises("part.setting", match="no classifier of 'scenes'") as caught:
        Profiles(classifiers=classifiers, revisions={"scenes": "main"})
    assert "'scene'" in caught.value.hint
    with raises("part.setting"):
        Profiles(attributes=())


def test_the_sample_runs_offline(tmp_path: Path) -> None:
    overrides = Profiles.sample(tmp_path / "sample", 5, [])
    assert Profiles.sample(tmp_path / "sample", 5, []) == overrides
    (x,) = annotate(Profiles(**overrides), [noise(tmp_path, 20)])
    assert all(text.startswith("gender: ") and ", emotion: " in text for text in x.notes[NOTE])
    assert len(set(x.notes[NOTE])) > 1
