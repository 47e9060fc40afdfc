"""BLIP-2 captions with a tiny random model: the same as transformers gives, stored, and photos that cannot be read."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from transformers import Blip2ForConditionalGeneration, Blip2Processor

from mmkit.annotators.run import annotate
from mmkit.data.types import Example, Image
from mmkit_chat.blip2 import Captioner
from mmkit_dim.captions import NOTE, PROMPT, Blip2Captions
from raising import raises

TEXTS = ["Jordan scored in the match on Saturday", "Amazon opened another shop in Paris", "the river Jordan"]


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random BLIP-2, as `--sample` makes it."""
    examples = [Example.from_tokens(str(i), text.split()) for i, text in enumerate(TEXTS)]
    return Blip2Captions.sample(tmp_path_factory.mktemp("blip2") / "model", 1, examples)["name"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call of the model was given."""
    seen: list[int] = []
    answer = Captioner.__call__

    def counted(self: Captioner, pictures: Sequence[Pillow.Image], *more: Any) -> list[str]:
        seen.append(len(pictures))
        return answer(self, pictures, *more)

    monkeypatch.setattr(Captioner, "__call__", counted)
    return seen


def post(folder: Path, name: str, seed: int, *more: Image) -> Example:
    """An example with a drawn photo, behind the pictures `more`."""
    path = folder / f"{name}.png"
    noise = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Pillow.fromarray(noise).resize((50, 40), Pillow.Resampling.NEAREST).save(path)
    return Example.from_tokens(name, ["Jordan"], images=(*more, Image(str(path))))


def direct_answer(name: str, path: str, prompt: str, max_new_tokens: int) -> str:
    """What transformers answers when it is called as its documentation says."""
    processor = Blip2Processor.from_pretrained(name)
    model = Blip2ForConditionalGeneration.from_pretrained(name)
    inputs = processor(images=Pillow.open(path), text=prompt, return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    whole = processor.batch_decode(tokens, skip_special_tokens=True)[0]
    asked = processor.batch_decode(inputs["input_ids"], skip_special_tokens=True)[0]
    assert whole.startswith(asked)
    return whole.removeprefix(asked).strip()


def test_old_names_of_modules_still_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for old, new in (("blip2", "blip2"), ("stand_ins", "blip2_stand_in")):
        monkeypatch.delitem(sys.modules, f"mmkit_dim.{old}", raising=False)
        with pytest.warns(DeprecationWarning, match=f"is now called mmkit_chat.{new}"):
            module = importlib.import_module(f"mmkit_dim.{old}")
        content = vars(importlib.import_module(f"mmkit_chat.{new}"))
        assert all(
            content[name] is value for name, value in vars(module).items() if not name.startswith("__")
        )


def test_answers_stored_before_blip2_moved_to_another_package_are_found() -> None:
    assert Blip2Captions("a/b").fingerprint() == (
        '{"max_new_tokens": 20, "model": "a/b", "part": "dim.blip2_captions.v1", '
        '"prompt": "Question:  Who are the characters in the picture? Answer: ", "revision": null}'
    )


def test_asks_as_the_authors_do() -> None:
    assert PROMPT == "Question:  Who are the characters in the picture? Answer: "
    annotator = Blip2Captions()
    assert (annotator.name, annotator.prompt, annotator.max_new_tokens) == (
        "Salesforce/blip2-opt-2.7b",
        PROMPT,
        20,
    )


@pytest.mark.parametrize(("prompt", "tokens"), [(PROMPT, 20), ("a photo of", 5)])
def test_notes_what_transformers_answers(name: str, tmp_path: Path, prompt: str, tokens: int) -> None:
    examples = [post(tmp_path, f"p{seed}", seed) for seed in range(5)]
    captions = Blip2Captions(name, prompt=prompt, max_new_tokens=tokens, batch_size=2)
    answers = [x.notes[NOTE] for x in annotate(captions, examples)]
    assert answers == [direct_answer(name, str(x.images[0].path), prompt, tokens) for x in examples]
    assert len(set(answers)) > 1, "the pictures must make a difference"


def test_looks_at_the_first_photo_only(name: str, tmp_path: Path) -> None:
    alone, other = post(tmp_path, "a", 0), post(tmp_path, "b", 1)
    crop = Image(other.images[0].path, "object")
    both = Example.from_tokens("c", ["Jordan"], images=(crop, *alone.images, *other.images))
    first, second = annotate(Blip2Captions(name), [alone, both])
    assert first.notes == second.notes


def test_works_in_batches_and_once_a_picture(name: str, tmp_path: Path, asked: list[int]) -> None:
    examples = [post(tmp_path, f"p{seed}", seed) for seed in range(5)]
    twin = Example.from_tokens("twin", ["Paris"], images=examples[0].images)
    annotated = annotate(Blip2Captions(name, batch_size=2), [*examples, twin])
    assert asked == [2, 2, 1]
    assert annotated[5].notes == annotated[0].notes
    assert annotate(Blip2Captions(name, batch_size=3), [*examples, twin]) == annotated
    assert asked == [2, 2, 1], "stored results need no model, whatever the batch size"


def test_other_pictures_and_settings_are_computed_anew(name: str, tmp_path: Path, asked: list[int]) -> None:
    annotate(Blip2Captions(name), [post(tmp_path, "a", 0)])
    annotate(Blip2Captions(name), [post(tmp_path, "a", 1)])
    annotate(Blip2Captions(name, prompt="who?"), [post(tmp_path, "a", 0)])
    annotate(Blip2Captions(name, max_new_tokens=3), [post(tmp_path, "a", 0)])
    assert asked == [1, 1, 1, 1]


def test_examples_without_a_photo_load_no_model(tmp_path: Path) -> None:
    examples = [
        Example.from_tokens("none", ["Jordan"]),
        Example.from_tokens("blank", ["Jordan"], images=(Image(None),)),
        Example.from_tokens("object", ["Jordan"], images=(Image("crop.png", "object"),)),
    ]
    assert annotate(Blip2Captions(str(tmp_path / "no model")), examples) == examples


def test_missing_and_broken_photos_have_no_caption_and_are_reported(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, broken = post(tmp_path, "good", 0), post(tmp_path, "broken", 1, Image(None, "object"))
    Path(str(broken.images[1].path)).write_bytes(b"no picture")
    missing = Example.from_tokens("m", ["Jordan"], images=(Image(str(tmp_path / "missing.png")),))
    for _ in range(2):  # the second time from the store
        captions = Blip2Captions(name)
        with caplog.at_level(logging.WARNING):
            annotated = annotate(captions, [good, broken, missing])
        assert [NOTE in x.notes for x in annotated] == [True, False, False]
        assert set(captions.unreadable) == {str(broken.images[1].path), str(missing.images[0].path)}
        assert "missing.png: no such image; it has no caption" in caplog.text
        caplog.clear()


def test_a_picture_that_appears_later_is_captioned(name: str, tmp_path: Path) -> None:
    missing = Example.from_tokens("a", ["Jordan"], images=(Image(str(tmp_path / "a.png")),))
    assert NOTE not in annotate(Blip2Captions(name), [missing])[0].notes
    assert NOTE in annotate(Blip2Captions(name), [post(tmp_path, "a", 0)])[0].notes


def test_the_sample_is_made_once_and_is_the_same_for_a_seed(name: str, tmp_path: Path) -> None:
    examples = [Example.from_tokens(str(i), text.split()) for i, text in enumerate(TEXTS)]
    state = torch.get_rng_state()
    again = Blip2Captions.sample(tmp_path / "again", 1, examples)["name"]
    assert torch.equal(torch.get_rng_state(), state)
    assert Blip2Captions(again).fingerprint() == Blip2Captions(name).fingerprint()
    written = (Path(again) / "model.safetensors").stat().st_mtime_ns
    Blip2Captions.sample(tmp_path / "again", 1, examples)
    assert (Path(again) / "model.safetensors").stat().st_mtime_ns == written


def test_a_model_that_is_none_is_named(tmp_path: Path) -> None:
    with raises("part.model-unloadable", match="BLIP-2"):
        annotate(Blip2Captions(str(tmp_path / "nothing")), [post(tmp_path, "a", 0)])


def test_a_model_that_would_not_look_at_the_picture_is_refused(name: str, tmp_path: Path) -> None:
    processor = Blip2Processor.from_pretrained(name)
    processor.num_query_tokens = None
    Blip2ForConditionalGeneration.from_pretrained(name).save_pretrained(tmp_path / "old")
    processor.save_pretrained(tmp_path / "old")
    with raises("chat.blip2-prompt"):
        annotate(Blip2Captions(str(tmp_path / "old")), [post(tmp_path, "a", 0)])
