"""CLIP's pictures: equal to transformers' own, absent ones zero and left out, stored or trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor
from transformers import AutoImageProcessor, CLIPModel

from mmkit.data.sample import pictures as drawn
from mmkit.data.types import Entity, Example, Image
from mmkit.encoders import pictures
from mmkit.encoders.clip_image import ClipImageEncoder
from mmkit.encoders.clip_sample import write_tiny_clip
from mmkit.encoders.store import prepare
from raising import raises

KINDS = ("PER", "LOC", "ORG", "OTHER")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, rng = tmp_path_factory.mktemp("photos"), Random(0)
    paths = [folder / f"{kind}.jpg" for kind in KINDS]
    for path, kind, shape in zip(paths, KINDS, [(96, 96), (60, 90), (200, 100), (48, 48)], strict=True):
        drawn.save(drawn.photo(kind, rng).resize(shape), path)
    return [str(path) for path in paths]


def built(folder: Path, **options: Any) -> ClipImageEncoder:
    encoder = ClipImageEncoder(str(folder), **options)
    encoder.build()
    return encoder


def example(*images: Image) -> Example:
    return Example("x", "a", ("a",), ((0, 1),), images=images)


def features(encoder: ClipImageEncoder, *records: Example | Entity) -> dict[str, Tensor]:
    return encoder(encoder.collate(records, [{}] * len(records)))


def clips_own(folder: Path, paths: list[str]) -> Tensor:
    files = [Pillow.open(path) for path in paths]
    pixels = AutoImageProcessor.from_pretrained(folder)(images=files, return_tensors="pt")
    with torch.no_grad():
        return CLIPModel.from_pretrained(folder).get_image_features(**pixels).pooler_output


def test_features_are_those_of_transformers(tiny_clip: Path, photos: list[str]) -> None:
    ours = features(built(tiny_clip), *(example(Image(path)) for path in photos))
    assert ours["pooled"].shape == (4, 1, 256) and ours["mask"].all()
    torch.testing.assert_close(ours["pooled"][:, 0], clips_own(tiny_clip, photos), atol=2e-6, rtol=0)


def test_the_source_says_which_pictures(tiny_clip: Path, photos: list[str]) -> None:
    a, b, c, d = photos
    records = [
        example(Image(a), Image(b, "object"), Image(c, "object", box=(2, 2, 40, 20)), Image(d)),
        example(Image(a), Image(d, "object")),
        Entity("Q1", "Paris", images=(Image(b),)),
    ]
    photo = features(built(tiny_clip), *records)
    assert photo["mask"].tolist() == [[True]] * 3
    torch.testing.assert_close(photo["pooled"][:, 0], clips_own(tiny_clip, [a, a, b]), atol=2e-6, rtol=0)
    both = features(built(tiny_clip, slots=2), *records)
    assert both["mask"].tolist() == [[True, True], [True, False], [True, False]]
    objects = features(built(tiny_clip, source="objects", slots=8), *records)
    assert objects["mask"].tolist() == [[True, True], [True, False], [False, False]]
    torch.testing.assert_close(objects["pooled"][:2, 0], clips_own(tiny_clip, [b, d]), atol=2e-6, rtol=0)
    assert not objects["pooled"][~objects["mask"]].any()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_stored_features_are_the_computed_ones(tiny_clip: Path, photos: list[str], dtype: str) -> None:
    records = [example(*(Image(path, "object") for path in photos[i:j])) for i, j in [(0, 3), (1, 1), (2, 4)]]
    encoder = built(tiny_clip, source="objects", slots=3, feature_dtype=dtype)
    batches = [records, records[1:2], records[1:]]
    computed = [features(encoder, *batch) for batch in batches]
    assert [x["mask"].shape for x in computed] == [(3, 3), (1, 1), (2, 2)]
    assert prepare(encoder, records).computed == 4
    read = []
    for budget in (0, 1e9):
        assert encoder.stored is not None
        encoder.stored.place("cpu", budget)
        read.append([features(encoder, *batch) for batch in batches])
    for ours, host, placed in zip(computed, *read, strict=True):
        assert torch.equal(ours["mask"], host["mask"]) and torch.equal(ours["mask"], placed["mask"])
        assert torch.equal(host["pooled"], placed["pooled"])
        tolerance = 2e-6 if dtype == "float32" else 5e-3
        torch.testing.assert_close(host["pooled"], ours["pooled"], atol=tolerance, rtol=0)


def test_blanked_pictures_are_absent(tiny_clip: Path) -> None:
    encoder = built(tiny_clip, slots=2)
    records = [example(Image(None)), example(), example(Image(None), Image(None))]
    for _ in range(2):
        found = features(encoder, *records)
        assert found["pooled"].shape == (3, 1, encoder.dim) and found["mask"].shape == (3, 1)
        assert not found["pooled"].any() and not found["mask"].any()
        prepare(encoder, records)


def test_missing_and_broken_pictures(tiny_clip: Path, photos: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(Path(photos[0]).read_bytes()[:200])
    bad = example(Image(str(tmp_path / "none.jpg")), Image(str(broken)), Image(photos[1]))
    encoder = built(tiny_clip, slots=3)
    with raises("image.missing"):
        features(encoder, bad)
    with raises("image.unusable", match="1 images are missing"):
        prepare(encoder, [bad])
    encoder.missing.policy = "blank"
    real = clips_own(tiny_clip, [photos[1]])
    for _ in range(2):
        found = features(encoder, bad, example())
        assert found["mask"].tolist() == [[True], [False]]  # the real one comes first
        torch.testing.assert_close(found["pooled"][0], real, atol=2e-6, rtol=0)
        report = prepare(encoder, [bad, example()])
    assert list(report.missing) == [str(tmp_path / "none.jpg")]
    assert report.computed == 0 and list(report.broken) == [str(broken)]


def test_a_hit_opens_no_file(tiny_clip: Path, photos: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    records = [example(Image(path)) for path in photos]
    encoder = built(tiny_clip, slots=2)
    prepare(encoder, records)
    monkeypatch.setattr(pictures, "open_image", lambda *_: pytest.fail("a picture was opened"))
    monkeypatch.setattr(pictures, "content_key", lambda *_: pytest.fail("a picture was read"))
    assert features(encoder, *records)["pooled"].shape == (4, 1, encoder.dim)


def test_a_trainable_encoder_trains(tiny_clip: Path, photos: list[str]) -> None:
    encoder = built(tiny_clip, frozen=False).train()
    features(encoder, example(Image(photos[0])), example())["pooled"].square().sum().backward()
    # a picture's keys have a bias that its softmax takes out again
    idle = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in idle if not name.endswith("k_proj.bias")] == []
    encoder.zero_grad()
    features(encoder, example())["pooled"].sum().backward()  # every process of several gives gradients
    assert all(p.grad is not None for p in encoder.parameters())


def test_a_saved_encoder_builds_without_its_source(
    tiny_clip: Path, photos: list[str], tmp_path: Path
) -> None:
    encoder = built(tiny_clip)
    encoder.save(tmp_path / "saved")
    for file in (tmp_path / "saved").iterdir():
        assert file.suffix == ".json" and str(tiny_clip) not in file.read_text()
    again = ClipImageEncoder("no-such-model")
    again.build(saved=tmp_path / "saved")
    again.load_state_dict(encoder.state_dict())
    assert again.fingerprint() == encoder.fingerprint()
    record = example(Image(photos[0]))
    assert torch.equal(features(again, record)["pooled"], features(encoder, record)["pooled"])


def test_the_fingerprint_covers_what_decides_the_features(
    tiny_clip: Path, tmp_path: Path, examples: list[Example]
) -> None:
    other_weights = write_tiny_clip(tmp_path / "other", seed=2, examples=examples)
    other_pixels = shutil.copytree(tiny_clip, tmp_path / "pixels")
    processor = json.loads((other_pixels / "preprocessor_config.json").read_text())
    (other_pixels / "preprocessor_config.json").write_text(
        json.dumps(processor | {"image_std": [0.3, 0.3, 0.3]})
    )
    encoders = [
        built(tiny_clip),
        built(tiny_clip, feature_dtype="float16"),
        built(other_weights),
        built(other_pixels),
    ]
    assert len({encoder.fingerprint() for encoder in encoders}) == len(encoders)
    assert built(tiny_clip, source="objects", slots=3).fingerprint() == encoders[0].fingerprint()


def test_what_does_not_fit_is_refused(tiny_clip: Path, tiny_bert: Path, tmp_path: Path) -> None:
    with raises("part.setting", match="slots = 0"):
        ClipImageEncoder(str(tiny_clip), slots=0)
    with raises("encoder.wrong-model", match="bert model, not CLIP"):
        built(tiny_bert)
    with raises("encoder.unloadable", match="check the name"):
        built(Path("no-such/clip"))
    other = shutil.copytree(tiny_clip, tmp_path / "other")
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    processor = json.loads((other / "preprocessor_config.json").read_text())
    (other / "preprocessor_config.json").write_text(json.dumps(processor | size))
    with raises(
        "encoder.picture-size", match=r"\(3, 32, 32\) of an image, but the network takes \(3, 48, 48\)"
    ):
        built(other)
    (other / "preprocessor_config.json").unlink()
    with raises(
        "encoder.unloadable", match=r"no settings of an image processor .*\n.*fetch preprocessor_config\.json"
    ):
        built(other)


def test_the_samples_photos_are_told_apart(tiny_clip: Path) -> None:
    """A linear probe, fitted by least squares on some drawn photos, knows what others show."""
    rng, encoder = Random(1), built(tiny_clip)
    shown = torch.tensor([i % len(KINDS) for i in range(240)])
    transform = pictures.pixels_of(encoder.processor)
    stack = encoder.source.stack([transform(drawn.photo(KINDS[kind], rng)) for kind in shown])
    states = torch.nn.functional.pad(encoder.encode(stack)["pooled"], (0, 1), value=1.0)
    fit, test = slice(0, 160), slice(160, 240)
    probe = torch.linalg.lstsq(states[fit], torch.nn.functional.one_hot(shown[fit]).float()).solution
    assert ((states[test] @ probe).argmax(1) == shown[test]).float().mean() >= 0.95
