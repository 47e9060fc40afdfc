"""BLIP's texts that have seen a picture: equal to transformers' own, ragged, blank where there is no photo."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
)

from mmkit.data.sample import pictures as drawn
from mmkit.data.types import Entity, Example, Image
from mmkit.encoders import blip_pairs
from mmkit.encoders.blip_multimodal import BlipMultimodalEncoder
from mmkit.encoders.blip_pairs import LoadedPair, Pair
from mmkit.encoders.blip_sample import write_tiny_blip
from mmkit.encoders.blip_similarity import BlipSimilarityEncoder
from mmkit.encoders.items import MissingImages
from mmkit.encoders.pictures import pixels_of
from mmkit.encoders.sharing import sharing
from mmkit.encoders.store import prepare
from mmkit.errors import ImageError
from raising import raises

TEXTS = ["Jordan scored 30 points in Chicago", "Paris", "a river , the Amazon", "naïve 日本 🏀 <3"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, rng = tmp_path_factory.mktemp("photos"), Random(0)
    shapes = {"PER": (96, 96), "LOC": (60, 90), "ORG": (200, 100), "OTHER": (48, 48)}
    for kind, shape in shapes.items():
        drawn.save(drawn.photo(kind, rng).resize(shape), folder / f"{kind}.jpg")
    return [str(folder / f"{kind}.jpg") for kind in shapes]


def built(folder: Path, **options: Any) -> BlipMultimodalEncoder:
    encoder = BlipMultimodalEncoder(str(folder), **options)
    encoder.build()
    return encoder


def pair(text: str, *images: Image, **notes: Any) -> Example:
    return Example("x", text, (), (), images=images, notes=notes)


def features(encoder: BlipMultimodalEncoder, *records: Example) -> dict[str, Tensor]:
    return encoder(encoder.collate(records, [{}] * len(records)))


def blips_own(folder: Path, photo: str | None, text: str, max_length: int = 512) -> Tensor:
    """One pair's states `[L, D]`, as transformers' documentation has them computed; no photo is zeros."""
    blip = BlipForImageTextRetrieval.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        text, truncation=True, max_length=max_length, return_tensors="pt"
    )
    tokens["input_ids"][:, 0] = blip.config.text_config.vocab_size - 1  # [ENC] comes last
    pixels = torch.zeros(1, 3, 48, 48)
    if photo is not None:
        processor = AutoImageProcessor.from_pretrained(folder)
        pixels = processor(images=Pillow.open(photo), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        image = blip.vision_model(pixels).last_hidden_state
        seen = torch.ones(image.shape[:2], dtype=torch.long)
        return blip.text_encoder(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            encoder_hidden_states=image,
            encoder_attention_mask=seen,
        ).last_hidden_state[0]


@pytest.mark.parametrize("max_length", [512, 6])
def test_features_are_those_of_transformers_one_by_one(
    tiny_blip: Path, photos: list[str], max_length: int
) -> None:
    encoder = built(tiny_blip, max_length=max_length)
    ours = features(encoder, *(pair(text, Image(path)) for text, path in zip(TEXTS, photos, strict=True)))
    wanted = [blips_own(tiny_blip, path, text, max_length) for text, path in zip(TEXTS, photos, strict=True)]
    assert ours["tokens"].shape == (4, 1, max(map(len, wanted)), encoder.dim)
    assert ours["lengths"].tolist() == [[len(states)] for states in wanted] and ours["mask"].all()
    for tokens, states in zip(ours["tokens"][:, 0], wanted, strict=True):
        torch.testing.assert_close(tokens[: len(states)], states, atol=1e-5, rtol=0)
        assert not tokens[len(states) :].any()


def test_a_pair_is_the_first_photo_and_the_text(tiny_blip: Path, photos: list[str]) -> None:
    a, b, *_ = photos
    encoder = built(tiny_blip)
    records = [
        pair(TEXTS[0], Image(a, "object"), Image(b), Image(a)),
        pair(TEXTS[0], Image(b)),
        pair(TEXTS[0], Image(a)),
        pair(TEXTS[1], Image(b)),
        pair(TEXTS[0], Image(b, box=(2, 2, 30, 30))),
    ]
    keys = [encoder.source.items(x, MissingImages())[0][0] for x in records]
    assert keys[0] == keys[1] and len(set(keys)) == 4
    tokens = features(encoder, *records)["tokens"]
    assert torch.equal(tokens[0], tokens[1])
    assert all((tokens[1] - other).abs().max() > 0.1 for other in tokens[2:])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_stored_features_are_the_computed_ones(tiny_blip: Path, photos: list[str], dtype: str) -> None:
    records = [pair(text, Image(path)) for text in TEXTS for path in photos[:2]]
    encoder = built(tiny_blip, feature_dtype=dtype)
    batches = [records, records[3:4], records[2:6]]
    computed = [features(encoder, *batch) for batch in batches]
    assert prepare(encoder, [*records, records[0]], batch_size=3).computed == 8
    assert encoder.stored is not None
    for budget in (0, 1e9):
        assert encoder.stored.place("cpu", budget) == bool(budget)
        for ours, batch in zip(computed, batches, strict=True):
            read = features(encoder, *batch)
            assert torch.equal(read["lengths"], ours["lengths"]) and torch.equal(read["mask"], ours["mask"])
            tolerance = 1e-5 if dtype == "float32" else 5e-3
            torch.testing.assert_close(read["tokens"], ours["tokens"], atol=tolerance, rtol=0)


def test_a_hit_opens_no_file(tiny_blip: Path, photos: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    records = [pair(text, Image(path)) for text, path in zip(TEXTS, photos, strict=True)]
    encoder, again = built(tiny_blip), built(tiny_blip)
    prepare(encoder, records)
    monkeypatch.setattr(blip_pairs, "open_image", lambda *_: pytest.fail("a picture was opened"))
    assert prepare(again, records).computed == 0
    monkeypatch.setattr(blip_pairs, "content_key", lambda *_: pytest.fail("a picture was read"))
    for reading in (encoder, again):
        assert features(reading, *records)["tokens"].shape[:2] == (4, 1)


def test_without_a_photo_the_text_is_read_with_the_mean_colour(tiny_blip: Path) -> None:
    encoder = built(tiny_blip)
    records = [pair(TEXTS[0]), pair(TEXTS[1], Image(None)), pair(TEXTS[2], Image("a.jpg", "object"))]
    for _ in range(2):  # computed, then stored
        found = features(encoder, *records)
        assert not found["mask"].any()
        for text, tokens, (length,) in zip(TEXTS, found["tokens"][:, 0], found["lengths"], strict=False):
            torch.testing.assert_close(tokens[:length], blips_own(tiny_blip, None, text), atol=1e-5, rtol=0)
        report = prepare(encoder, records)
        assert report.blank and report.items == 3


def test_missing_and_broken_photos(tiny_blip: Path, photos: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(Path(photos[0]).read_bytes()[:200])
    missing, bad = pair(TEXTS[0], Image(str(tmp_path / "none.jpg"))), pair(TEXTS[1], Image(str(broken)))
    records = [missing, bad, pair(TEXTS[2], Image(photos[1])), pair(TEXTS[2], Image(str(broken)))]
    encoder = built(tiny_blip)
    for record in (missing, bad):
        with pytest.raises(ImageError):
            features(encoder, record)
    with raises("image.unusable", match="1 images are missing"):
        prepare(encoder, records)
    with raises("image.unusable", match="1 images are broken"):
        prepare(encoder, records[1:])
    encoder.missing.policy = "blank"
    wanted = [
        blips_own(tiny_blip, *item)
        for item in [(None, TEXTS[0]), (None, TEXTS[1]), (photos[1], TEXTS[2]), (None, TEXTS[2])]
    ]
    for _ in range(2):  # computed, then stored
        found = features(encoder, *records)
        assert found["mask"].tolist() == [[False], [False], [True], [False]]
        for tokens, states in zip(found["tokens"][:, 0], wanted, strict=True):
            torch.testing.assert_close(tokens[: len(states)], states, atol=1e-5, rtol=0)
        report = prepare(encoder, records)
    assert list(report.missing) == [str(tmp_path / "none.jpg")] and list(report.broken) == [str(broken)]
    with raises("image.unusable", match="1 images are broken"):
        prepare(built(tiny_blip), records[1:])  # what stood in for it does not hide it


def test_the_first_photo_is_the_one_that_is_read(tiny_blip: Path, photos: list[str]) -> None:
    first, crop, second = Image(photos[0]), Image(photos[1], "object"), Image(photos[1])
    record = replace(pair(TEXTS[0], first), images=(crop, first, second))
    assert built(tiny_blip).source.chosen(record) == [first]


def test_a_frozen_encoder_never_trains(tiny_blip: Path, photos: list[str]) -> None:
    encoder, record = built(tiny_blip), pair(TEXTS[0], Image(photos[0]))
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not features(encoder, record)["tokens"].requires_grad


def test_a_trainable_encoder_trains(tiny_blip: Path, photos: list[str]) -> None:
    encoder = built(tiny_blip, frozen=False).train()
    record = pair(TEXTS[0], Image(photos[0]))
    (features(encoder, record)["tokens"] * torch.arange(1.0, encoder.dim + 1)).sin().sum().backward()
    trained = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    assert all(p.grad is not None for p in trained.values())  # every process of several gives gradients
    # keys have a bias that their softmax takes out again
    idle = [name for name, p in trained.items() if not p.grad.any() and not name.endswith("key.bias")]
    assert idle == []
    assert {name.split(".")[1] for name in trained} == {"vision_model", "text_encoder"}


def test_bfloat16_around_it_changes_frozen_features_not_at_all(tiny_blip: Path, photos: list[str]) -> None:
    record = pair(TEXTS[0], Image(photos[0]))
    frozen, trained = built(tiny_blip), built(tiny_blip, frozen=False)
    plain = features(frozen, record)["tokens"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(features(frozen, record)["tokens"], plain)
        torch.testing.assert_close(features(trained, record)["tokens"].float(), plain, atol=0.1, rtol=0.1)


def test_a_saved_encoder_builds_without_its_source(
    tiny_blip: Path, photos: list[str], tmp_path: Path
) -> None:
    encoder = built(tiny_blip)
    encoder.save(tmp_path / "saved")
    for file in (tmp_path / "saved").iterdir():
        assert file.suffix == ".json" and str(tiny_blip) not in file.read_text()
    again = BlipMultimodalEncoder("no-such-model")
    again.build(saved=tmp_path / "saved")
    again.load_state_dict(encoder.state_dict())
    assert again.fingerprint() == encoder.fingerprint() and again.dim == encoder.dim
    record = pair(TEXTS[0], Image(photos[0]))
    assert torch.equal(features(again, record)["tokens"], features(encoder, record)["tokens"])


def test_encoders_of_one_checkpoint_share_it(tiny_blip: Path) -> None:
    with sharing():
        states, score = built(tiny_blip), BlipSimilarityEncoder(str(tiny_blip))
        score.build()
        trained = built(tiny_blip, frozen=False)
    assert states.backbone is score.backbone and states.backbone is not trained.backbone
    assert states.fingerprint() != score.fingerprint()
    assert all(not p.requires_grad for p in states.parameters())


def test_the_fingerprint_covers_what_decides_the_features(
    tiny_blip: Path, tmp_path: Path, examples: list[Example]
) -> None:
    other_weights = write_tiny_blip(tmp_path / "other", seed=2, examples=examples)
    other_pixels = shutil.copytree(tiny_blip, tmp_path / "pixels")
    change(other_pixels / "preprocessor_config.json", image_std=[0.3, 0.3, 0.3])
    encoders = [
        built(tiny_blip),
        built(tiny_blip, feature_dtype="float16"),
        built(tiny_blip, max_length=8),
        built(other_weights),
        built(other_pixels),
    ]
    assert len({encoder.fingerprint() for encoder in encoders}) == len(encoders)


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_tokenizer_may_know_the_first_token(tiny_blip: Path, photos: list[str], tmp_path: Path) -> None:
    knowing, record = shutil.copytree(tiny_blip, tmp_path / "knowing"), pair(TEXTS[0], Image(photos[0]))
    tokenizer = AutoTokenizer.from_pretrained(tiny_blip)
    tokenizer.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    tokenizer.save_pretrained(knowing)
    assert torch.equal(
        features(built(knowing), record)["tokens"], features(built(tiny_blip), record)["tokens"]
    )
    foreign = AutoTokenizer.from_pretrained(tiny_blip)
    foreign.add_tokens(["one", "too", "many"])
    foreign.save_pretrained(knowing)
    with raises("encoder.wrong-model", match=r"has no token \[ENC\]"):
        built(knowing)


def test_what_is_no_blip_for_retrieval_is_refused(tiny_blip: Path, tiny_bert: Path, tmp_path: Path) -> None:
    with raises("encoder.wrong-model", match=r"bert model \(BertModel\), not BLIP.*\n.*blip-itm-base-coco"):
        built(tiny_bert)
    captions = shutil.copytree(tiny_blip, tmp_path / "captions")
    config = BlipForImageTextRetrieval.from_pretrained(tiny_blip).config
    BlipForConditionalGeneration(config).save_pretrained(captions)
    with raises("encoder.wrong-model", match=r"blip model \(BlipForConditionalGeneration\)"):
        built(captions)
    change(captions / "config.json", architectures=["BlipForImageTextRetrieval"])
    with raises("encoder.missing-weights", match="BlipForImageTextRetrieval"):
        built(captions)
    with raises("encoder.unloadable", match="check the name"):
        built(Path("no-such/blip"))
    with raises("encoder.unloadable", match="'Salesforce/blip-itm-base-coco'"):
        built(Path("Salesforce/blip-itm-base-cocoo"))


def test_what_does_not_fit_is_refused(tiny_blip: Path, tmp_path: Path) -> None:
    with raises("encoder.max-length", match=r"513, but .* takes at most 512"):
        built(tiny_blip, max_length=513)
    with raises("encoder.max-length"):
        built(tiny_blip, max_length=2)
    other = shutil.copytree(tiny_blip, tmp_path / "other")
    change(other / "preprocessor_config.json", size={"height": 32, "width": 32})
    with raises(
        "encoder.picture-size", match=r"\(3, 32, 32\) of an image, but the network takes \(3, 48, 48\)"
    ):
        built(other)
    (other / "preprocessor_config.json").unlink()
    with raises(
        "encoder.unloadable", match=r"no settings of an image processor .*\n.*fetch preprocessor_config\.json"
    ):
        built(other)
    encoder = built(tiny_blip)
    with raises("encoder.reads-nothing"):
        encoder.check_reads(Entity)
    with raises("encoder.reads-nothing", match="Q1"):
        encoder.source.items(Entity("Q1", "Paris"), MissingImages())
    with raises("input.not-unicode"):
        features(encoder, pair("\ud800"))


def test_the_sample_is_one_model_for_both_encoders(tmp_path: Path, examples: list[Example]) -> None:
    states = BlipMultimodalEncoder.sample(tmp_path / "mmkit.blip_multimodal.v1-1-ab", 1, examples)
    scores = BlipSimilarityEncoder.sample(tmp_path / "mmkit.blip_similarity.v1-1-ab", 1, examples)
    assert states == scores == {"name": str(tmp_path / "mmkit.blip.v1-1-ab"), "revision": None}
    again = write_tiny_blip(tmp_path / "again", 1, examples)
    for file in again.iterdir():
        assert file.read_bytes() == (Path(states["name"]) / file.name).read_bytes()


@pytest.mark.parametrize("text", TEXTS[:2])
def test_the_samples_photos_are_told_apart(tiny_blip: Path, text: str) -> None:
    """A linear probe of the tokens' maximum, fitted on some drawn photos, knows what others show."""
    rng, encoder, kinds = Random(1), built(tiny_blip), drawn.KINDS
    shown = torch.tensor([i % len(kinds) for i in range(120 * len(kinds))])
    transform, ids = pixels_of(encoder.processor), encoder.source.load(Pair(Image(None), text)).ids
    loaded = [LoadedPair(transform(drawn.photo(kinds[kind], rng)), ids) for kind in shown]
    seen = encoder.encode(encoder.source.stack(loaded))["tokens"].amax(1)
    states = torch.nn.functional.pad(seen, (0, 1), value=1.0)
    fit, test = slice(0, 720), slice(720, None)
    probe = torch.linalg.lstsq(states[fit], torch.nn.functional.one_hot(shown[fit]).float()).solution
    assert ((states[test] @ probe).argmax(1) == shown[test]).float().mean() >= 0.95
