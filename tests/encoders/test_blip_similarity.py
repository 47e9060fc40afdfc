"""BLIP's scores of a pair: equal to transformers' own, or read from a note without any model."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, BlipForImageTextRetrieval

from mmkit.data.sample import pictures as drawn
from mmkit.data.types import Example, Image
from mmkit.encoders import blip_pairs
from mmkit.encoders.blip_similarity import BlipSimilarityEncoder
from mmkit.encoders.store import prepare
from raising import raises

LONG = "Jordan plays basketball in Chicago and Paris " * 5
TEXTS = ["Jordan scored 30 points in Chicago", "Paris", LONG]
NOTE = "mmkit.jmere.itc_score"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, rng = tmp_path_factory.mktemp("photos"), Random(0)
    kinds = ("PER", "LOC", "ORG")
    for kind in kinds:
        drawn.save(drawn.photo(kind, rng), folder / f"{kind}.jpg")
    return [str(folder / f"{kind}.jpg") for kind in kinds]


def built(folder: Path | str, **options: Any) -> BlipSimilarityEncoder:
    encoder = BlipSimilarityEncoder(str(folder), **options)
    encoder.build()
    return encoder


def pair(text: str, *images: Image, **notes: Any) -> Example:
    return Example("x", text, (), (), images=images, notes=notes)


def noted(number: Any) -> Example:
    return Example("x7", "a", (), (), notes={NOTE: number})


def features(encoder: BlipSimilarityEncoder, *records: Example) -> dict[str, Tensor]:
    return encoder(encoder.collate(records, [{}] * len(records)))


def blips_own(folder: Path, photo: str, text: str, score: str) -> float:
    """One pair's score by transformers, the text padded or cut to 35 tokens as BLIP's own code does."""
    blip = BlipForImageTextRetrieval.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        text, padding="max_length", truncation=True, max_length=35, return_tensors="pt"
    )
    pixels = AutoImageProcessor.from_pretrained(folder)(images=Pillow.open(photo), return_tensors="pt")
    with torch.no_grad():
        found = blip(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            pixel_values=pixels["pixel_values"],
            use_itm_head=score == "itm",
        ).itm_score
    return float(found.softmax(-1)[0, 1] if score == "itm" else found)


@pytest.mark.parametrize("score", ["itc", "itm"])
def test_scores_are_those_of_transformers_one_by_one(
    tiny_blip: Path, photos: list[str], score: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = built(tiny_blip, score=score)
    records = [pair(text, Image(path)) for text in TEXTS for path in photos]
    wanted = torch.tensor([blips_own(tiny_blip, x.images[0].path or "", x.text, score) for x in records])
    assert wanted.std() > 0.05
    found = features(encoder, *records)
    assert found["similarity"].shape == (9, 1, 1) and found["mask"].all() and encoder.dim == 1
    torch.testing.assert_close(found["similarity"].flatten(), wanted, atol=1e-5, rtol=0)
    assert prepare(encoder, records).computed == 9
    monkeypatch.setattr(blip_pairs, "open_image", lambda *_: pytest.fail("a picture was opened"))
    monkeypatch.setattr(blip_pairs, "content_key", lambda *_: pytest.fail("a picture was read"))
    torch.testing.assert_close(features(encoder, *records)["similarity"].flatten(), wanted, atol=1e-5, rtol=0)


def test_pairs_without_a_photo_have_a_score_and_are_masked(tiny_blip: Path, photos: list[str]) -> None:
    encoder = built(tiny_blip)
    records = [pair(TEXTS[0]), pair(TEXTS[1], Image(None)), pair(TEXTS[1], Image(photos[0]))]
    for _ in range(2):  # computed, then stored
        found = features(encoder, *records)
        assert found["mask"].tolist() == [[False], [False], [True]]
        assert len(found["similarity"].unique()) == 3
        prepare(encoder, records)


def test_both_scores_are_kept_apart(tiny_blip: Path) -> None:
    assert built(tiny_blip, score="itc").fingerprint() != built(tiny_blip, score="itm").fingerprint()


@pytest.mark.parametrize("score", ["itc", "itm"])
def test_a_saved_encoder_builds_without_its_source(
    tiny_blip: Path, photos: list[str], tmp_path: Path, score: str
) -> None:
    encoder = built(tiny_blip, score=score)
    encoder.save(tmp_path / "saved")
    again = BlipSimilarityEncoder("no-such-model", score=score)
    again.build(saved=tmp_path / "saved")
    again.load_state_dict(encoder.state_dict())
    record = pair(TEXTS[0], Image(photos[0]))
    assert torch.equal(features(again, record)["similarity"], features(encoder, record)["similarity"])
    assert again.fingerprint() == encoder.fingerprint()


def test_given_scores_are_read_and_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = built("no-such-model", given=NOTE)
    assert not encoder.state_dict() and not encoder.source.pictures
    encoder.save(tmp_path / "saved")
    again = BlipSimilarityEncoder("no-such-model", given=NOTE)
    again.build(saved=tmp_path / "saved")
    again.load_state_dict(encoder.state_dict())
    numbers = [0.25, -0.5, 0, 1, 0.25]
    records = [noted(number) for number in numbers]
    for reading in (encoder, again):
        found = features(reading, *records)
        assert found["similarity"].tolist() == [[[float(n)]] for n in numbers] and found["mask"].all()
    prepare(encoder, records)
    assert encoder.stored is not None
    for budget in (0, 1e9):
        encoder.stored.place("cpu", budget)
        assert features(encoder, *records)["similarity"].flatten().tolist() == numbers
        assert features(encoder, noted(0.75))["similarity"].item() == 0.75  # was not prepared


def test_an_example_without_a_given_score_is_an_error(tmp_path: Path) -> None:
    encoder = built("no-such-model", given=NOTE)
    for record in (pair("a"), pair("a", Image("no.jpg"))):
        with raises("encoder.no-note", match=f"x: there is no note {NOTE!r}.*\n.*remove `given`"):
            features(encoder, record)
        with raises("encoder.no-note"):
            prepare(encoder, [noted(0.5), record])
    with raises("encoder.no-note", match=r"'mmkit\.jmere\.itm_score'"):
        features(encoder, pair("a", **{"mmkit.jmere.itm_score": 0.5}))
    for wrong in ("0.5", True, [0.5], float("nan"), float("inf")):
        with raises("encoder.wrong-note", match=r"x7: the note .* is .*, not a number"):
            features(encoder, noted(wrong))
