"""Person parts with tiny random detectors and segmenters, beside what transformers itself says of a photo."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from transformers import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    AutoModelForUniversalSegmentation,
    DetrImageProcessor,
    ViTConfig,
    ViTForImageClassification,
)

from detectors import (
    DETECTORS,
    LABELS,
    SEGMENTERS,
    blocks,
    save_detr,
    save_detr_segmenter,
    save_mask2former,
    save_yolos,
)
from mmkit.annotators.run import annotate
from mmkit.data.images import open_image
from mmkit.data.types import Example, Image
from mmkit_dwe.finder import MASK_SIDE, Finder, _mask_boxes
from mmkit_dwe.parts import NOTE, Parts
from raising import raises


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], None]], str]:
    folders: dict[Any, str] = {}

    def once(save_to: Callable[[Path], None]) -> str:
        if save_to not in folders:
            folder = tmp_path_factory.mktemp("model")
            save_to(folder)
            folders[save_to] = str(folder)
        return folders[save_to]

    return once


@pytest.fixture(scope="module")
def model(saved: Any) -> str:
    return saved(save_yolos)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photos each call of a finder is given."""
    seen: list[int] = []
    find = Finder.__call__

    def counted(self: Finder, pictures: Sequence[Any], *more: Any) -> Any:
        seen.append(len(pictures))
        return find(self, pictures, *more)

    monkeypatch.setattr(Finder, "__call__", counted)
    return seen


def photo(folder: Path, name: str, size: tuple[int, int] = (60, 40)) -> Image:
    path = folder / f"{name}.png"
    blocks(name, size).save(path)
    return Image(str(path))


def post(*images: Image, id: str = "a") -> Example:
    return Example.from_tokens(id, ["who"], images=images)


def parts_of(x: Example) -> list[Image]:
    return [image for image in x.images if image.role == "object"]


def persons(name: str, path: str | None, segments: bool) -> list[tuple[float, tuple[int, ...]]]:
    """(score, box) of the persons that transformers finds in a photo, best first; computed without the part."""
    picture = open_image(Image(path))
    processor = AutoImageProcessor.from_pretrained(name)
    kind = AutoModelForUniversalSegmentation if segments else AutoModelForObjectDetection
    size = [(picture.height, picture.width)]
    with torch.inference_mode():
        outputs = kind.from_pretrained(name).eval()(**processor(images=[picture], return_tensors="pt"))
    if segments:
        triples = masks(processor, outputs, size)
    else:
        (found,) = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=size)
        boxes = [outer(box) for box in found["boxes"].tolist()]
        triples = list(zip(found["scores"].tolist(), boxes, found["labels"].tolist(), strict=True))
    wanted = [(score, box) for score, box, label in triples if LABELS[label] == "Person"]
    return [(round(score, 4), box) for score, box in sorted(wanted, key=lambda pair: (-pair[0], pair[1]))]


def masks(processor: Any, outputs: Any, size: list[tuple[int, int]]) -> list[tuple[float, Any, int]]:
    post_process = processor.post_process_instance_segmentation
    if isinstance(processor, DetrImageProcessor):
        (found,) = post_process(outputs, threshold=0.0, target_sizes=size)
        maps = [(found["segmentation"] == segment["id"]) for segment in found["segments_info"]]
    else:
        (found,) = post_process(outputs, threshold=0.0, target_sizes=size, return_binary_maps=True)
        maps = [found["segmentation"][i] > 0 for i in range(len(found["segments_info"]))]
    triples = []
    for segment, mask in zip(found["segments_info"], maps, strict=True):
        rows, columns = np.nonzero(mask.numpy())
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        triples.append((segment["score"], tuple(map(int, box)), segment["label_id"]))
    return triples


def outer(box: list[float]) -> tuple[int, int, int, int]:
    """Whole pixels around a box inside a 60×40 photo."""
    left, top, right, bottom = box
    return (
        max(0, math.floor(left)),
        max(0, math.floor(top)),
        min(60, math.ceil(right)),
        min(40, math.ceil(bottom)),
    )


@pytest.mark.parametrize("save_model", [*DETECTORS, *SEGMENTERS])
def test_finds_what_transformers_finds(saved: Any, tmp_path: Path, save_model: Any) -> None:
    name = saved(save_model)
    examples = [post(photo(tmp_path, str(i)), id=str(i)) for i in range(3)]
    annotated = annotate(Parts(name, threshold=0.0, max_parts=20), examples)
    expected = [persons(name, x.images[0].path, save_model in SEGMENTERS) for x in examples]
    assert sum(map(len, expected)) > 0, "a model that finds nobody tests nothing"
    for x, found in zip(annotated, expected, strict=True):
        assert [(n["score"], tuple(n["box"])) for n in x.notes[NOTE]] == found
        assert [image.box for image in parts_of(x)] == [box for _, box in found]
        assert {image.path for image in x.images} == {x.images[0].path}
        assert {n["label"] for n in x.notes[NOTE]} <= {"Person"}


def test_parts_stand_behind_all_pictures_best_first(model: str, tmp_path: Path) -> None:
    one, other = photo(tmp_path, "1"), photo(tmp_path, "2")
    crop = Image(one.path, "object", (0.0, 0.0, 9.0, 9.0))
    (x,) = annotate(Parts(model, threshold=0.0, max_parts=20), [post(crop, one, other)])
    assert x.images[:3] == (crop, one, other)
    scores = [n["score"] for n in x.notes[NOTE]]
    assert scores == sorted(scores, reverse=True)
    assert {image.path for image in x.images[3:]} == {one.path, other.path}
    assert len(scores) == len(x.images) - 3


def test_takes_the_best_of_all_photos_and_no_more_than_asked_for(model: str, tmp_path: Path) -> None:
    example = post(photo(tmp_path, "1"), photo(tmp_path, "2"))
    (everything,) = annotate(Parts(model, threshold=0.0, max_parts=20), [example])
    for limit in (1, 2, 3):
        (x,) = annotate(Parts(model, threshold=0.0, max_parts=limit), [example])
        assert parts_of(x) == parts_of(everything)[:limit]


def test_keeps_what_reaches_the_threshold(model: str, tmp_path: Path) -> None:
    example = post(photo(tmp_path, "1"))
    (everything,) = annotate(Parts(model, threshold=0.0, max_parts=20), [example])
    scores = [n["score"] for n in everything.notes[NOTE]]
    middle = (scores[0] + scores[1]) / 2
    (best,) = annotate(Parts(model, threshold=middle), [example])
    (nothing,) = annotate(Parts(model, threshold=1.0), [example])
    assert [n["score"] for n in best.notes[NOTE]] == scores[:1]
    assert nothing.images == example.images
    assert nothing.notes[NOTE] == []


def test_boxes_count_pixels_of_the_upright_photo(model: str, tmp_path: Path) -> None:
    """The same scene, stored upright and turned by EXIF orientation 6, has the same parts."""
    upright = photo(tmp_path, "1", (40, 60))
    picture = Pillow.open(str(upright.path))
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    turned = tmp_path / "turned.png"
    picture.transpose(Pillow.Transpose.ROTATE_90).save(turned, exif=exif)
    straight, rotated = annotate(
        Parts(model, threshold=0.0), [post(upright), post(Image(str(turned)), id="b")]
    )
    assert straight.notes == rotated.notes
    assert straight.notes[NOTE]
    for one, other in zip(parts_of(straight), parts_of(rotated), strict=True):
        assert np.array_equal(np.asarray(open_image(one)), np.asarray(open_image(other)))


def test_boxes_in_a_photo_that_is_a_crop_count_from_the_files_corner(model: str, tmp_path: Path) -> None:
    whole = photo(tmp_path, "1")
    cut = tmp_path / "cut.png"
    open_image(Image(whole.path, box=(10, 5, 50, 35))).save(cut)
    from_file, from_box = annotate(
        Parts(model, threshold=0.0),
        [post(Image(str(cut))), post(Image(whole.path, "photo", (10.0, 5.0, 50.0, 35.0)), id="b")],
    )
    assert parts_of(from_file)
    for one, other in zip(parts_of(from_file), parts_of(from_box), strict=True):
        assert np.array_equal(np.asarray(open_image(one)), np.asarray(open_image(other)))


@pytest.mark.parametrize("save_model", [save_detr, save_detr_segmenter])
def test_neighbours_of_another_size_change_nothing(saved: Any, tmp_path: Path, save_model: Any) -> None:
    sizes = [(60, 40), (40, 60), (60, 40), (90, 30)]
    examples = [post(photo(tmp_path, str(i), size), id=str(i)) for i, size in enumerate(sizes)]
    options = {"name": saved(save_model), "threshold": 0.0, "max_parts": 20}
    together = annotate(Parts(**options), examples)
    alone = []
    for i, x in enumerate(examples):
        finder = Parts(**options, batch=1)
        finder.prepare("cpu")
        alone.append(finder.apply(x, finder.annotate([x])[0]))
        assert [n["label"] for n in alone[i].notes[NOTE]] == [n["label"] for n in together[i].notes[NOTE]]
        for one, other in zip(alone[i].notes[NOTE], together[i].notes[NOTE], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=2e-4)
            assert one["box"] == pytest.approx(other["box"], abs=1)
    assert any(x.notes[NOTE] for x in alone)


def test_masks_of_large_photos_are_small_and_their_boxes_are_not(saved: Any, tmp_path: Path) -> None:
    name = saved(save_mask2former)
    width, height = 4 * MASK_SIDE, 2 * MASK_SIDE
    small, large = photo(tmp_path, "1", (64, 32)), tmp_path / "large.png"
    Pillow.open(str(small.path)).resize((width, height), Pillow.Resampling.NEAREST).save(large)
    options = {"threshold": 0.0, "max_parts": 20}
    (x,) = annotate(Parts(name, **options), [post(Image(str(large)))])
    boxes = np.array([image.box for image in parts_of(x)])
    assert len(boxes)
    assert boxes.min() >= 0
    assert (boxes[:, 2] <= width).all()
    assert (boxes[:, 3] <= height).all()
    assert boxes[:, 2].max() > MASK_SIDE


def test_the_box_of_a_mask_holds_its_outermost_pixels() -> None:
    one = torch.zeros(4, 6)
    one[1, 2] = one[3, 4] = 1
    other = torch.zeros(4, 6)
    other[0, 0] = 1
    boxes = [[2, 1, 5, 4], [0, 0, 1, 1]]
    assert _mask_boxes(torch.stack([one, other]), [0, 1]).tolist() == boxes
    assert _mask_boxes(one * 8 + other * 4 - 1, [7, 3]).tolist() == boxes  # a map: -1 is no segment
    assert _mask_boxes(-torch.ones(4, 6), []).shape == (0, 4)


def test_a_photo_is_looked_at_once(model: str, tmp_path: Path, calls: list[int]) -> None:
    shared, other = photo(tmp_path, "1"), photo(tmp_path, "2")
    again = Image(str(tmp_path / "copy.png"))
    Path(str(again.path)).write_bytes(Path(str(shared.path)).read_bytes())
    examples = [post(shared), post(other, id="b"), post(shared, id="c"), post(again, id="d")]
    first = annotate(Parts(model, threshold=0.0), examples)
    assert calls == [2]
    assert first[0].notes == first[2].notes == first[3].notes != first[1].notes
    assert {image.path for image in first[3].images} == {again.path}
    assert annotate(Parts(model, threshold=0.0), examples) == first
    assert len(calls) == 1


def test_other_settings_and_models_are_computed_anew(saved: Any, tmp_path: Path, calls: list[int]) -> None:
    example = post(photo(tmp_path, "1"))
    for settings in ({}, {"threshold": 0.5}, {"max_parts": 3}, {"labels": ("dog",)}, {"batch": 3}):
        annotate(Parts(saved(save_yolos), **settings), [example])
    annotate(Parts(saved(save_detr)), [example])
    assert len(calls) == 5  # `batch` alone is no other setting


def test_missing_and_broken_photos_have_no_parts_and_are_reported(
    model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken, missing = Image(str(tmp_path / "broken.png")), Image(str(tmp_path / "missing.png"))
    Path(str(broken.path)).write_bytes(b"no picture")
    examples = [
        post(photo(tmp_path, "1"), broken, id="good"),
        post(broken, id="broken"),
        post(missing, id="missing"),
        post(Image(None), id="blank"),
        post(id="none"),
    ]
    for _ in range(2):  # the second time from the store
        parts = Parts(model, threshold=0.0)
        with caplog.at_level(logging.WARNING):
            annotated = annotate(parts, examples)
        assert [bool(parts_of(x)) for x in annotated] == [True, False, False, False, False]
        assert set(parts.unreadable) == {str(broken.path), str(missing.path)}
        assert "missing.png: no such image; it has no parts" in caplog.text
        caplog.clear()


def test_other_labels_are_found_by_any_case(model: str, tmp_path: Path) -> None:
    examples = [post(photo(tmp_path, str(i)), id=str(i)) for i in range(4)]
    both = annotate(Parts(model, labels=("person", "DOG"), threshold=0.0, max_parts=20), examples)
    assert {n["label"] for x in both for n in x.notes[NOTE]} == {"Person", "dog"}


def test_an_unknown_label_is_named_with_near_misses(model: str, tmp_path: Path) -> None:
    with raises("dwe.unknown-label", match="'persons'") as caught:
        annotate(Parts(model, labels=("persons",)), [post(photo(tmp_path, "1"))])
    assert "'person'" in caught.value.hint


def test_the_task_may_be_said_and_must_fit(saved: Any, tmp_path: Path) -> None:
    example = post(photo(tmp_path, "1"))
    with raises("part.model-unloadable", match="yolos"):
        annotate(Parts(saved(save_yolos), task="segmentation"), [example])
    with raises("part.model-unloadable", match="the detector"):
        annotate(Parts(saved(save_mask2former), task="detection"), [example])


def test_a_detector_without_its_head_is_refused(saved: Any, tmp_path: Path) -> None:
    """DETR's masks would otherwise be drawn by a random head."""
    with raises("encoder.missing-weights", match="DetrForSegmentation"):
        annotate(Parts(saved(save_detr), task="segmentation"), [post(photo(tmp_path, "1"))])


def test_a_model_that_is_no_detector_or_nowhere_is_named(tmp_path: Path) -> None:
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    ViTForImageClassification(ViTConfig(**small, image_size=32)).save_pretrained(tmp_path / "vit")
    for name in ("vit", "nothing"):
        with raises("part.model-unloadable", match="the detector"):
            annotate(Parts(str(tmp_path / name)), [post(photo(tmp_path, "1"))])


def test_useless_settings_are_refused() -> None:
    for settings in ({"labels": ()}, {"max_parts": 0}, {"batch": 0}):
        with raises("part.setting"):
            Parts(**settings)


def test_the_sample_runs_offline_and_finds_parts(tmp_path: Path) -> None:
    overrides = Parts.sample(tmp_path / "sample", 5, [])
    assert Parts.sample(tmp_path / "sample", 5, []) == overrides
    annotated = annotate(Parts(**overrides), [post(photo(tmp_path, str(i)), id=str(i)) for i in range(3)])
    for x in annotated:
        assert len(parts_of(x)) == 2
        assert all(min(open_image(part).size) >= 10 for part in parts_of(x))
