"""timm encoders: slots and blanks, preprocessing, pyramids, saving, and agreement with stored features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image as Pillow
from torchvision.models import resnet50

from mmkit.data.types import Entity, Example, Image
from mmkit.encoders import pictures
from mmkit.encoders.items import CollatedItems, MissingImages
from mmkit.encoders.store import prepare
from mmkit.encoders.timm_backbone import TimmPictures
from mmkit.encoders.timm_pooled import TimmEncoder
from mmkit.encoders.timm_pyramid import TimmPyramidEncoder
from mmkit.pretrained.timm_models import TimmModel
from raising import raises


@pytest.fixture(scope="module")
def tiny_resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "tiny-resnet"
    TimmEncoder.sample(folder, seed=1, examples=[])
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    paths = [str(folder / f"{i}.png") for i in range(4)]
    for path, size in zip(paths, [(80, 60), (64, 64), (30, 90), (200, 100)], strict=True):
        Pillow.fromarray(draw.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


def built(kind: type[TimmPictures], folder: Path, **options) -> TimmPictures:
    encoder = kind(str(folder), **options)
    encoder.build()
    return encoder


def example(*images: Image) -> Example:
    return Example("x", "a", ("a",), ((0, 1),), images=images)


def collate(encoder: TimmPictures, examples: list[Example]):
    return encoder.collate(examples, [{}] * len(examples))


@pytest.fixture(scope="module")
def examples(photos: list[str]) -> list[Example]:
    a, b, c, d = photos
    return [
        example(Image(a), Image(b, "object"), Image(c, "object", box=(2, 2, 20, 20))),
        example(Image(d)),
        example(Image(None), Image(a, "object")),
        example(),
    ]


def test_slots_are_photos_then_objects(tiny_resnet: Path, examples: list[Example]) -> None:
    encoder = built(TimmEncoder, tiny_resnet, photos=1, objects=3)
    inputs = collate(encoder, examples)
    pixels = CollatedItems.of(inputs).loaded["pixels"]
    assert pixels.shape == (16, 3, 64, 64)
    assert inputs["mask"].tolist() == [
        [True, True, True, False],
        [True, False, False, False],
        [False, True, False, False],
        [False, False, False, False],
    ]
    assert not pixels[~inputs["mask"].flatten()].any()  # a blank is the mean colour: zero after normalisation
    features = encoder(inputs)
    assert features["pooled"].shape == (4, 4, encoder.dim) and features["mask"].shape == (4, 4)
    assert set(features) == encoder.provides


def test_a_blank_goes_through_the_network(tiny_resnet: Path, examples: list[Example]) -> None:
    encoder = built(TimmEncoder, tiny_resnet)
    pooled = encoder(collate(encoder, examples))["pooled"]
    torch.testing.assert_close(pooled[3], encoder.backbone(torch.zeros(1, 3, 64, 64)))
    assert pooled[3].abs().max() > 0


def test_more_pictures_than_slots_are_left_out(tiny_resnet: Path, photos: list[str]) -> None:
    encoder = built(TimmEncoder, tiny_resnet, photos=2)
    items = encoder.source.items(example(*[Image(p) for p in photos]), MissingImages())
    assert [raw.path for _, raw in items] == photos[:2]
    assert len({key for key, _ in items}) == 2


def test_entities_have_pictures_too(tiny_resnet: Path, photos: list[str]) -> None:
    encoder = built(TimmEncoder, tiny_resnet)
    inputs = encoder.collate([Entity("Q1", "Paris", images=(Image(photos[0]),))], [{}])
    assert inputs["mask"].tolist() == [[True]]


@pytest.mark.parametrize("kind", [TimmEncoder, TimmPyramidEncoder])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_stored_and_computed_features_agree(
    kind: type[TimmPictures], dtype: str, tiny_resnet: Path, examples: list[Example]
) -> None:
    encoder = built(kind, tiny_resnet, objects=3, feature_dtype=dtype)
    inputs = collate(encoder, examples)
    computed = encoder(inputs)
    prepare(encoder, examples)
    tolerance = 1e-5 if dtype == "float32" else 5e-3
    for budget in (0, 1e9):
        encoder.stored.place("cpu", budget)
        stored = encoder(collate(encoder, examples))
        assert torch.equal(stored.pop("mask"), computed["mask"])
        for name, values in stored.items():
            torch.testing.assert_close(values, computed[name], atol=tolerance, rtol=0)


def test_features_in_bf16_are_within_two_hundredths(tiny_resnet: Path) -> None:
    pixels = torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    exact = built(TimmEncoder, tiny_resnet).encode({"pixels": pixels})["pooled"]
    rounded = built(TimmEncoder, tiny_resnet, feature_precision="bf16").encode({"pixels": pixels})["pooled"]
    apart = (rounded - exact).norm() / exact.norm()
    assert rounded.dtype == torch.float32
    assert 0 < apart < 0.02


def test_the_order_of_an_image_s_memory_changes_nothing(tiny_resnet: Path) -> None:
    encoder = built(TimmEncoder, tiny_resnet, frozen=False)
    pixels = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ours = encoder.compute({"pixels": pixels})["pooled"]
    torch.testing.assert_close(ours, encoder.backbone(pixels), atol=1e-5, rtol=1e-5)
    ours.sum().backward()
    first = next(encoder.backbone.parameters())
    assert first.grad.is_contiguous() and first.grad.abs().max() > 0


def test_a_hit_opens_no_file(tiny_resnet: Path, examples: list[Example], monkeypatch) -> None:
    encoder = built(TimmEncoder, tiny_resnet, objects=3)
    prepare(encoder, examples)

    def forbidden(*_):
        raise AssertionError("a picture was touched")

    monkeypatch.setattr(pictures, "open_image", forbidden)
    assert prepare(encoder, examples).computed == 0
    monkeypatch.setattr(pictures, "content_key", forbidden)
    assert encoder(collate(encoder, examples))["pooled"].shape == (4, 4, encoder.dim)


def test_equal_pictures_are_encoded_once(tiny_resnet: Path, photos: list[str], tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(photos[0]).read_bytes())
    report = prepare(built(TimmEncoder, tiny_resnet), [example(Image(photos[0])), example(Image(str(copy)))])
    assert report.computed == 1


def test_missing_and_broken_pictures(tiny_resnet: Path, tmp_path: Path, photos: list[str]) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(photos[0]).read_bytes()[:100])
    encoder = built(TimmEncoder, tiny_resnet, photos=2)
    bad = example(Image(str(tmp_path / "none.png")), Image(str(broken)))
    with raises("image.missing"):
        collate(encoder, [bad])
    encoder.missing.policy = "blank"
    assert collate(encoder, [bad])["mask"].tolist() == [[False, False]]
    report = prepare(encoder, [bad])
    assert list(report.missing) == [str(tmp_path / "none.png")] and list(report.broken) == [str(broken)]
    assert collate(encoder, [bad])["mask"].tolist() == [[False, False]]


def test_a_frozen_encoder_is_a_pure_function(tiny_resnet: Path, examples: list[Example]) -> None:
    encoder = built(TimmEncoder, tiny_resnet).train()
    state = {k: v.clone() for k, v in encoder.state_dict().items()}
    inputs = collate(encoder, examples)
    first = encoder(inputs)["pooled"]
    assert not first.requires_grad and not any(p.requires_grad for p in encoder.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encoder(inputs)["pooled"], first)
    assert all(torch.equal(v, state[k]) for k, v in encoder.state_dict().items())


def test_a_trainable_encoder_trains(tiny_resnet: Path, examples: list[Example]) -> None:
    encoder = built(TimmPyramidEncoder, tiny_resnet, frozen=False).train()
    assert encoder.backbone.training
    encoder(collate(encoder, examples))["grid"].sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_pyramid_pools_as_the_paper_does(tiny_resnet: Path) -> None:
    encoder = built(TimmPyramidEncoder, tiny_resnet, grid=2)
    stack = torch.randn(3, 3, 64, 64)
    grid = encoder.network({"pixels": stack})["grid"]
    maps = encoder.backbone(stack)
    assert [m.shape[-1] for m in maps] == [16, 8, 4, 2]
    assert encoder.dim == sum(m.shape[1] for m in maps) == grid.shape[1]
    channel = 0
    for m in maps:
        k = m.shape[-1] // 2
        for row in range(2):
            for column in range(2):
                mean = m[:, :, row * k : (row + 1) * k, column * k : (column + 1) * k].mean((2, 3))
                torch.testing.assert_close(grid[:, channel : channel + m.shape[1], row, column], mean)
        channel += m.shape[1]


@torch.no_grad()
def test_pyramid_drops_what_is_left_over(tiny_resnet: Path) -> None:
    encoder = built(TimmPyramidEncoder, tiny_resnet, grid=2, levels=[2])
    maps = torch.arange(49.0).view(1, 1, 7, 7)
    expected = torch.stack([maps[..., r : r + 3, c : c + 3].mean() for r in (0, 3) for c in (0, 3)])
    assert torch.equal(encoder._pooled(maps).flatten(), expected)
    assert built(TimmPyramidEncoder, tiny_resnet, grid=5, levels=[0])._pooled(maps).shape[-2:] == (5, 5)


def test_a_grid_finer_than_the_maps_is_refused(tiny_resnet: Path) -> None:
    with raises("encoder.grid", match=r"3, but .* has a feature map of \(2, 2\)"):
        built(TimmPyramidEncoder, tiny_resnet, grid=3)


@pytest.mark.parametrize(
    ("levels", "sides"), [(None, [16, 8, 4, 2]), ([0], [32]), ([-5, 4], [32, 2]), ([3, 1], [16, 4])]
)
def test_levels_are_numbers_of_feature_maps(
    levels: list[int] | None, sides: list[int], tiny_resnet: Path
) -> None:
    encoder = built(TimmPyramidEncoder, tiny_resnet, levels=levels)
    assert [m.shape[-1] for m in encoder.backbone(torch.zeros(1, 3, 64, 64))] == sides


@pytest.mark.parametrize("level", [5, -6])
def test_a_level_beyond_the_models_maps_is_refused(level: int, tiny_resnet: Path) -> None:
    with raises(
        "encoder.levels", match=rf"levels = \[1, {level}\], but .*tiny-resnet' has 5 feature maps"
    ) as error:
        built(TimmPyramidEncoder, tiny_resnet, levels=[1, level])
    assert "0 (the largest map) to 4, or from -5 to -1" in error.value.hint


def test_a_level_of_a_model_without_stages_is_refused_too(tmp_path: Path) -> None:
    """A vision transformer's maps are its blocks', which timm takes in another way."""
    arguments = {"img_size": 32, "patch_size": 16, "embed_dim": 8, "depth": 3, "num_heads": 2}
    config = {"architecture": "vit_tiny_patch16_224", "model_args": arguments, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with raises("encoder.levels", match="has 3 feature maps"):
        TimmPyramidEncoder("vit", levels=[3]).build(saved=tmp_path)
    with raises("encoder.levels", match="has 3 feature maps"):
        TimmPyramidEncoder("vit").build(saved=tmp_path)


def test_maps_with_their_channels_last_are_pooled_alike(tmp_path: Path) -> None:
    arguments = {
        "img_size": 32,
        "patch_size": 2,
        "embed_dim": 4,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "window_size": 4,
    }
    config = {"architecture": "swin_tiny_patch4_window7_224", "model_args": arguments}
    (tmp_path / "config.json").write_text(
        json.dumps({**config, "pretrained_cfg": {"input_size": [3, 32, 32]}})
    )
    encoder = TimmPyramidEncoder("swin", grid=2, levels=[0, 1])
    encoder.build(saved=tmp_path)
    encoder.eval()
    pixels = torch.randn(2, 3, 32, 32)
    grid, maps = encoder.network({"pixels": pixels})["grid"], encoder.backbone(pixels)
    assert [m.shape[1:] for m in maps] == [(16, 16, 4), (8, 8, 8)] and encoder.dim == 12
    torch.testing.assert_close(grid[:, 4:, 0, 1], maps[1][:, :4, 4:].mean((1, 2)))
    assert encoder.describe()["channels"] == "last"


def test_a_map_that_is_named_twice_and_no_map_are_refused(tiny_resnet: Path) -> None:
    with raises("encoder.levels", match=r"\[4, -1\] name a feature map of .* more than once"):
        built(TimmPyramidEncoder, tiny_resnet, levels=[4, -1])
    with pytest.raises(ValueError, match="levels"):
        TimmPyramidEncoder(str(tiny_resnet), levels=[])


def test_an_unknown_model_is_no_matter_of_levels() -> None:
    with raises("encoder.unloadable"):
        TimmPyramidEncoder("resnet5", levels=[9]).build()


def test_resnet50_is_named_as_torchvisions(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet50", "pretrained_cfg": {}}))
    encoder = TimmPyramidEncoder("resnet50", objects=3)
    encoder.build(saved=tmp_path)
    assert encoder.dim == 3840
    state = {k: v for k, v in resnet50().state_dict().items() if not k.startswith("fc.")}
    encoder.backbone.load_state_dict(state)  # strictly
    assert encoder.network({"pixels": torch.zeros(1, 3, 224, 224)})["grid"].shape == (1, 3840, 2, 2)


@pytest.mark.parametrize("kind", [TimmEncoder, TimmPyramidEncoder])
def test_a_saved_encoder_builds_without_its_source(
    kind: type[TimmPictures], tiny_resnet: Path, examples: list[Example], tmp_path: Path
) -> None:
    encoder = built(kind, tiny_resnet, objects=1)
    encoder.save(tmp_path / "saved")
    assert [f.name for f in (tmp_path / "saved").iterdir()] == ["config.json"]
    assert str(tiny_resnet) not in (tmp_path / "saved/config.json").read_text()
    again = kind("no-such-model", objects=1)
    again.build(saved=tmp_path / "saved")
    again.load_state_dict(encoder.state_dict())
    assert again.fingerprint() == encoder.fingerprint()
    ours, theirs = encoder(collate(encoder, examples)), again(collate(again, examples))
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_the_fingerprint_covers_what_decides_the_features(tiny_resnet: Path) -> None:
    encoders = [
        built(TimmEncoder, tiny_resnet),
        built(TimmPyramidEncoder, tiny_resnet),
        built(TimmPyramidEncoder, tiny_resnet, grid=1),
        built(TimmPyramidEncoder, tiny_resnet, levels=[1, 2]),
        built(TimmPyramidEncoder, tiny_resnet, feature_dtype="float16"),
        built(TimmPyramidEncoder, tiny_resnet, feature_precision="bf16"),
        built(TimmPyramidEncoder, tiny_resnet, feature_precision="tf32"),
    ]
    assert len({e.fingerprint() for e in encoders}) == len(encoders)
    other_slots = built(TimmEncoder, tiny_resnet, photos=3, objects=2)
    assert other_slots.fingerprint() == encoders[0].fingerprint()
    other_slots.preprocessing["mean"] = (0.4, 0.4, 0.4)
    assert other_slots.fingerprint() != encoders[0].fingerprint()


def test_sample_is_deterministic_and_of_sane_scale(tiny_resnet: Path, tmp_path: Path) -> None:
    TimmPyramidEncoder.sample(tmp_path / "again", seed=1, examples=[])
    for file in tiny_resnet.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
    grid = built(TimmPyramidEncoder, tiny_resnet).encode({"pixels": torch.randn(16, 3, 64, 64)})["grid"]
    assert 0.1 < grid.std(0).mean() < 2 and grid.abs().max() < 20


def test_preprocessing_is_the_models_own(tiny_resnet: Path, photos: list[str]) -> None:
    encoder = built(TimmEncoder, tiny_resnet)
    item = encoder.source.load(Image(photos[1]))  # 64×64 as the model wants it: only normalised
    pixels = torch.from_numpy(np.array(Pillow.open(photos[1]))).permute(2, 0, 1) / 255
    torch.testing.assert_close(item, (pixels - 0.5) / 0.25)


@pytest.mark.parametrize("name", ["resnet5", "resnet50.nope_in1k", "local-dir:nowhere"])
def test_an_unknown_model_says_what_to_do(name: str) -> None:
    with raises("encoder.unloadable", match="check the name") as error:
        TimmEncoder(name).build()
    assert name in error.value.what
    assert ("did you mean" in error.value.hint) == name.startswith("resnet")


def test_revisions_belong_to_the_hub(tiny_resnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with raises("encoder.revision"):
        TimmEncoder(str(tiny_resnet), revision="abc").build()
    asked: list[str] = []

    def create(source: str, **_: object) -> None:
        asked.append(source)
        raise RuntimeError("offline")

    monkeypatch.setattr(timm, "create_model", create)
    monkeypatch.setattr(TimmModel, "_arguments", lambda model: {})
    for name in ("resnet50.tv_in1k", "hf-hub:timm/resnet50.tv_in1k"):
        with raises("encoder.unloadable"):
            TimmEncoder(name, revision="abc").build()
    assert asked == ["hf-hub:timm/resnet50.tv_in1k@abc"] * 2
