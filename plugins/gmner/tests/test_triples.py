"""The metric: which regions are right, names by position and by words, and the numbers that follow from gold data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit.data.strings import STRINGS
from mmkit.data.types import Box, Example, Image, Prediction, Region, Span
from mmkit.metrics.base import ComparesRegions
from mmkit.testing import check_metric
from mmkit_gmner.mentions import SEEN
from mmkit_gmner.overlap import iou
from mmkit_gmner.reader import Twitter10000Reader
from mmkit_gmner.triples import GroundedTriples
from raising import raises

TOKENS = ("a", "b", "a", "c", "d")
ONE, OTHER = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 70.0)


def span(start: int, label: str = "PER", *boxes: Box, image: int = 0) -> Span:
    return Span(start, start + 1, label, tuple(Region(image, box) for box in boxes))


def example(*spans: Span, images: int = 2, **fields: Any) -> Example:
    photos = tuple(Image(f"{i}.jpg") for i in range(images))
    return Example.from_tokens("x", TOKENS, images=photos, spans=spans, **fields)


def figures(gold: Example, *found: Span, **options: Any) -> dict[str, float]:
    metric = GroundedTriples(**options)
    metric.update([gold], [Prediction(gold.id, found, (1.0,) * len(found))])
    return metric.compute()


def three(gold: Example, *found: Span, **options: Any) -> tuple[float, float, float]:
    own = figures(gold, *found, **options)
    return own["mner_f1"], own["eeg_f1"], own["gmner_f1"]


@pytest.mark.parametrize(
    ("gold", "found", "right"),
    [
        (span(0, "PER"), span(0, "PER"), (1, 1, 1)),
        (span(0, "PER"), span(0, "LOC"), (0, 1, 0)),
        (span(0, "PER"), span(1, "PER"), (0, 0, 0)),
        (span(0, "PER", ONE), span(0, "PER"), (1, 0, 0)),
        (span(0, "PER"), span(0, "PER", ONE), (1, 0, 0)),
        (span(0, "PER", ONE), span(0, "PER", OTHER), (1, 0, 0)),
        (span(0, "PER", ONE), span(0, "PER", ONE), (1, 1, 1)),
        (span(0, "PER", ONE), span(0, "LOC", ONE), (0, 1, 0)),
        (span(0, "PER", OTHER, ONE), span(0, "PER", ONE), (1, 1, 1)),  # any of several
        (span(0, "PER", ONE), span(0, "PER", OTHER, ONE), (1, 0, 0)),  # the first of several predicted ones
        (span(0, "PER", ONE), span(0, "PER", (0, 0, 10, 5)), (1, 1, 1)),  # exactly a half
        (span(0, "PER", ONE), span(0, "PER", (0, 0, 10, 4.9)), (1, 0, 0)),
        (span(0, "PER", ONE), span(0, "PER", ONE, image=1), (1, 0, 0)),  # in another photo
    ],
)
def test_what_is_right(gold: Span, found: Span, right: tuple[int, int, int]) -> None:
    assert three(example(gold), found) == right
    assert three(example(gold), found, match="string") == right


def test_precision_and_recall_are_over_all_names() -> None:
    gold = example(span(0), span(1), span(3, "LOC", ONE))
    own = figures(gold, span(0), span(3, "LOC", ONE), span(4))
    assert own["gmner_precision"] == own["gmner_recall"] == pytest.approx(2 / 3)
    assert own["gmner_f1.LOC"] == 1 and own["gmner_f1.PER"] == 0.5 and own["gmner_macro_f1"] == 0.75


def test_the_groundability_of_names_of_the_right_type() -> None:
    gold = example(span(0, "PER", ONE), span(1), span(2, "PER", ONE), span(3, "LOC", ONE))
    own = figures(gold, span(0, "PER", ONE), span(1, "PER", ONE), span(2, "PER", OTHER), span(3, "PER"))
    assert own["visible_f1"] == pytest.approx(0.8)  # two of three that are said to be seen, and both that are
    assert own["region_accuracy"] == 0.5
    assert math.isnan(own["coverage"])


def test_the_threshold() -> None:
    gold, found = example(span(0, "PER", ONE)), span(0, "PER", (0.0, 0.0, 10.0, 7.0))
    assert three(gold, found, threshold=0.7)[2] == 1 and three(gold, found, threshold=0.71)[2] == 0
    for wrong in (0, -0.5, 1.1, math.nan):
        with raises("part.setting"):
            GroundedTriples(threshold=wrong)


def test_what_proposals_cover() -> None:
    gold = example(span(0, "PER", ONE), span(1, "PER", OTHER), span(3))
    proposals = (Image("0.jpg", "object", ONE), Image("1.jpg", "object", OTHER), Image("crop.jpg", "object"))
    own = figures(replace(gold, images=(*gold.images, *proposals)))
    assert own["coverage"] == 0.5  # the second one's proposal is in the other photo
    metric = GroundedTriples()
    metric.update([replace(gold, images=(*gold.images, *proposals)), gold], [Prediction("x")] * 2)
    assert metric.compute()["coverage"] == 0.25  # a post without proposals has names to be seen, too


def test_words_that_occur_twice_are_two_names() -> None:
    gold = example(span(0), span(2, "PER", ONE))
    assert three(gold, span(0)) == (2 / 3, 2 / 3, 2 / 3)
    assert three(gold, span(2), match="string") == (2 / 3, 2 / 3, 2 / 3)  # it is one of the two
    assert three(gold, span(0), span(2), span(2), match="string")[0] == pytest.approx(4 / 5)


def noted(seen: Sequence[Any] | None, *entities: tuple[str, str]) -> dict[str, Any]:
    notes: dict[str, Any] = {STRINGS: {"entities": [list(e) for e in entities], "relations": []}}
    return notes | ({} if seen is None else {SEEN: seen})


def test_names_without_positions() -> None:
    region = Region(0, ONE).to_dict()
    gold = Example.from_tokens("x", (), notes=noted([[], [region]], ("a", "PER"), ("b", "LOC")))
    told = Prediction("x", notes=noted([[], True], ("a", "PER"), ("b", "LOC")))
    metric = GroundedTriples(match="string")
    metric.update([gold], [told])
    own = metric.compute()
    assert (own["mner_f1"], own["gmner_f1"], own["visible_f1"]) == (
        1,
        0.5,
        1,
    )  # seen, but it is not said where
    assert math.isnan(own["region_accuracy"])
    metric.reset()
    metric.update([gold], [replace(told, notes=noted([[], [region]], ("a", "PER"), ("b", "LOC")))])
    assert metric.compute()["gmner_f1"] == 1
    with raises("data.no-positions"):
        GroundedTriples().update([gold], [told])
    assert [problem.code for problem in GroundedTriples().examine([gold])] == ["data.no-positions"]
    assert not list(metric.examine([gold]))


@pytest.mark.parametrize("seen", [[[]], [[], False], "x", [[], [{"image": 0, "box": [1, 2]}]]])
def test_a_note_that_does_not_fit_is_an_error(seen: Any) -> None:
    gold = Example.from_tokens("x", (), notes=noted(None, ("a", "PER"), ("b", "LOC")))
    with raises("json.wrong-type", match=SEEN):
        GroundedTriples(match="string").update(
            [gold], [Prediction("x", notes=noted(seen, ("a", "PER"), ("b", "LOC")))]
        )


def test_the_contract() -> None:
    gold = [example(span(0, "PER", ONE), span(1)), replace(example(span(3, "LOC", OTHER)), id="y")]
    for match in ("position", "string"):
        check_metric("gmner.triples.v1", {"match": match}, examples=gold)


def test_counts_of_examples_give_the_score() -> None:
    metric = GroundedTriples(bootstrap=20)
    gold = [example(span(0, "PER", ONE), span(1)), replace(example(span(3)), id="y")]
    metric.update(
        gold, [Prediction("x", (span(0),), (1.0,)), Prediction("y", (span(3), span(4)), (1.0, 1.0))]
    )
    own = metric.compute()
    for kind in ("mner", "eeg", "gmner"):
        correct, predicted, true = metric.example_counts()[f"{kind}_f1"].sum(axis=0)
        assert own[f"{kind}_f1"] == pytest.approx(2 * correct / (predicted + true))
        assert own[f"{kind}_f1.low"] <= own[f"{kind}_f1"] <= own[f"{kind}_f1.high"]


sides = st.floats(0, 50, allow_nan=False)
some_boxes = st.builds(lambda x, y, w, h: (x, y, x + w + 1, y + h + 1), sides, sides, sides, sides)
some_spans = st.lists(
    st.builds(
        lambda start, label, own: span(start, label, *own),
        st.integers(0, 4),
        st.sampled_from(("PER", "LOC")),
        st.lists(some_boxes, max_size=2),
    ),
    max_size=4,
    unique_by=lambda s: s.start,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(gold=some_spans, found=some_spans)
def test_a_triple_is_right_only_if_its_parts_are(gold: list[Span], found: list[Span]) -> None:
    own = figures(example(*gold), *found)
    if gold or found:
        assert own["gmner_f1"] <= min(own["mner_f1"], own["eeg_f1"])
    if gold:
        assert figures(example(*gold), *gold)["gmner_f1"] == 1


@settings(max_examples=100, deadline=None, derandomize=True)
@given(gold=some_spans, found=some_spans)
def test_reports_call_the_same_boxes_right(gold: list[Span], found: list[Span]) -> None:
    metric = GroundedTriples()
    assert isinstance(metric, ComparesRegions)
    metric.update([example(*gold)], [Prediction("x", tuple(found), (1.0,) * len(found))])
    right = [f for f in found for g in gold if f == g and metric.same_regions(g.regions, f.regions)]
    assert metric.example_counts()["gmner_f1"].tolist() == [[len(right), len(found), len(gold)]]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(a=some_boxes, b=some_boxes)
def test_the_overlap_of_boxes(a: Box, b: Box) -> None:
    assert iou(a, a) == pytest.approx(1) and iou(a, b) == iou(b, a)
    assert 0 <= iou(a, b) <= 1 + 1e-9
    apart = (a[0] + 200, a[1], a[2] + 200, a[3])
    assert iou(a, apart) == 0


def without_regions(found: Example) -> tuple[Span, ...]:
    return tuple(replace(own, regions=()) for own in found.spans)


def whole_photo(root: Path) -> Callable[[Example], tuple[Span, ...]]:
    from mmkit_gmner.voc import read_voc

    def of(found: Example) -> tuple[Span, ...]:
        annotation = read_voc(root / "xml" / f"{found.id}.xml")
        if annotation is None or annotation.size is None:
            return found.spans
        region = Region(0, (0.0, 0.0, *map(float, annotation.size)))
        return tuple(replace(own, regions=(region,) if own.regions else ()) for own in found.spans)

    return of


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("split", "f1"), [("train", 59.82), ("dev", 59.55), ("test", 58.87)], ids=["train", "dev", "test"]
)
def test_gold_names_without_regions(shared: Path, split: str, f1: float) -> None:
    gold = list(Twitter10000Reader(str(shared / "data" / "gmner"), f"txt/{split}.txt"))
    metric = GroundedTriples()
    metric.update(gold, [Prediction(g.id, without_regions(g), (1.0,) * len(g.spans)) for g in gold])
    own = metric.compute()
    assert round(100 * own["gmner_f1"], 2) == f1 and own["mner_f1"] == 1


@pytest.mark.real_data
def test_gold_names_with_the_whole_photo(shared: Path) -> None:
    root = shared / "data" / "gmner"
    gold = list(Twitter10000Reader(str(root), "txt/test.txt"))
    grounded, metric = whole_photo(root), GroundedTriples()
    metric.update(gold, [Prediction(g.id, grounded(g), (1.0,) * len(g.spans)) for g in gold])
    own = metric.compute()
    assert round(100 * own["gmner_f1"], 2) == 70.98 and own["visible_f1"] == 1
    assert own["region_accuracy"] == pytest.approx(308 / 1046)
