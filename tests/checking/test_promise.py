"""`check` is a promise: what training refuses is said first, all of it at once, with file, line and number."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image as Pillow

from mmkit.checking.check import check, list_in_full
from mmkit.checking.examine import _compare, examine, refuse
from mmkit.checking.report import SplitReport
from mmkit.cli import main
from mmkit.data.types import Example, Prediction, Span
from mmkit.encoders.given_similarity import GivenSimilarity
from mmkit.fit import fitting_parts
from mmkit.hooks import hookimpl
from mmkit.inference.evaluate import _unlearnt
from mmkit.loading.annotation import Annotation
from mmkit.loading.split import Split
from mmkit.loading.splits import read_split, read_splits
from mmkit.metrics.relation_f1 import RelationF1
from mmkit.metrics.scoring import check_score, nothing_to_score, score
from mmkit.metrics.span_f1 import SpanF1
from mmkit.recipe import load_recipe
from mmkit.training.train import train
from posts import CLASSIFIER, LISBON, MARA, pair, post, recipe_of
from raising import raises

SOUND = [post(i) for i in range(6)]
DEV = [post(i) for i in range(10, 12)]


def checked(
    folder: Path, posts: list[dict[str, Any]], dev: Any = DEV, **how: Any
) -> Mapping[str, SplitReport]:
    return check(recipe_of(folder, posts, dev, **how))


# Spans


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"start": 3, "end": 5, "label": "LOC"}, "crossing"),
        ({"start": 3, "end": 4, "label": "LOC"}, "nested"),
        ({"start": 1, "end": 6, "label": "LOC"}, "nested"),
        ({"start": 2, "end": 5, "label": "LOC"}, "nested"),
        ({"start": 2, "end": 4, "label": "ORG"}, "with two labels"),
    ],
)
def test_overlapping_spans_are_counted_and_named(tmp_path: Path, more: dict[str, Any], kind: str) -> None:
    report = checked(tmp_path, [*SOUND, *(post(i, more) for i in range(6, 11))])["train"]
    [problem] = report.problems
    count = 10 if more == {"start": 1, "end": 6, "label": "LOC"} else 5  # it has both of the others in it
    assert problem.startswith(f"{count} spans overlap others ({count} {kind}")
    assert f"{tmp_path}/train.jsonl:8 (post6), " in problem and " and 2 more\n" in problem
    assert report.codes == ["task.span-overlap"]


def test_a_span_that_is_given_twice_is_one_span_and_counted(tmp_path: Path) -> None:
    report = checked(tmp_path, [*SOUND, post(6, MARA), post(7, MARA, MARA)])["train"]
    assert report.problems == []
    [warning] = report.warnings
    assert warning.startswith("3 spans are annotated a second time") and "train.jsonl:8 (post6)" in warning


def test_overlaps_of_other_splits_are_warned_of(tmp_path: Path) -> None:
    report = checked(tmp_path, SOUND, [post(9, {"start": 3, "end": 5, "label": "LOC"})])["dev"]
    assert report.problems == [] and report.warnings[0].startswith("1 span overlaps another one (1 crossing)")


# Labels


def test_types_that_the_recipe_does_not_name_are_said_with_the_line_and_both_settings(tmp_path: Path) -> None:
    lines = ["IMGID:1", "look\tO", "Mara\tB-per", "", "IMGID:2", "in\tO", "Lisbon\tB-loc", "Mara\tB-per", ""]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    conll = {
        "data.train.@readers": "mmkit.conll_images.v1",
        "data.train.file": "train.txt",
        "data.train.images": None,
    }
    recipe = recipe_of(tmp_path, SOUND, DEV, {**conll, "model.decoder.types": ["PER", "LOC"]})
    [problem] = check(recipe)["train"].problems
    assert problem.startswith(
        "3 spans have a type that is not in model.decoder.types = ['PER', 'LOC']: 'per' (2)"
    )
    assert all(f"train.txt:{line} " in problem for line in (3, 7, 8))
    assert 'data.train.rename = {"per": "PER", "loc": "LOC"}' in problem
    renamed = recipe.with_overrides({"data.train.rename": {"per": "PER", "loc": "LOC"}})
    assert check(renamed)["train"].problems == []
    half = {"data.train.rename": {"PER": "LOC"}, "model.decoder.types": ["LOC"]}
    [problem] = check(recipe.with_overrides(half))["train"].problems
    assert '{"PER": "LOC", "per": "LOC", "loc": "LOC"}' in problem, "as the other spelling is renamed"


def test_relations_that_the_recipe_does_not_name_or_that_have_no_label(tmp_path: Path) -> None:
    posts = [pair(0, "lives_in"), pair(1, "lives in"), pair(2, None), pair(3, None), post(4)]
    overrides = {"model.decoder.relations": ["lives_in", "None"]}
    reports = checked(
        tmp_path, posts, [pair(9, "lives_in"), pair(8, None)], overrides=overrides, parts=CLASSIFIER
    )
    train_says = "\n".join(reports["train"].problems)
    assert (
        "1 example has no pair of spans to classify" in train_says and "train.jsonl:6 (post4)" in train_says
    )
    assert "2 relations have no label" in train_says and "train.jsonl:4 (post2), " in train_says
    assert "1 relation has a name that is not in model.decoder.relations" in train_says
    assert "did you mean 'lives_in' for 'lives in'?" in train_says
    assert reports["dev"].codes == ["task.no-label"]  # it cannot be scored


def test_no_label_at_all(tmp_path: Path) -> None:
    bare = [post(i, spans=()) for i in range(4)]
    reports = checked(tmp_path, bare, bare)
    assert reports["train"].codes == ["task.no-spans"] and reports["train"].warnings == []
    [problem] = reports["dev"].problems
    assert problem.startswith("training.score is found.f1, but no example of dev has anything that it counts")
    assert checked(tmp_path, [post(1)], bare, parts=CLASSIFIER)["train"].codes[0] == "task.no-pair"


def test_a_label_that_the_score_needs_must_be_in_dev(tmp_path: Path) -> None:
    only_places = [post(i, spans=(LISBON,)) for i in range(3)]
    of_persons = {"training.score": "found.f1.PER"}
    assert checked(tmp_path, SOUND, only_places, overrides=of_persons)["dev"].codes == [
        "data.nothing-to-score"
    ]
    assert checked(tmp_path, SOUND, DEV, overrides=of_persons)["dev"].codes == []
    assert checked(tmp_path, SOUND, only_places)["dev"].codes == []


# Boxes


def with_box(number: int, path: Path, *box: float) -> dict[str, Any]:
    images = [{"path": str(path), "role": "photo"}, {"path": str(path), "role": "object", "box": list(box)}]
    return post(number, images=images)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((40, 20, 15, 10), "a box that ends before it begins ([40.0, 20.0, 15.0, 10.0] in "),
        ((100, 100, 120, 120), "a box outside the image ([100.0, 100.0, 120.0, 120.0] in "),
        ((0.1, 0.1, 0.5, 0.5), "a box in fractions of the image ([0.1, 0.1, 0.5, 0.5] in "),
        ((0, 0, 1, 1), "a box in fractions of the image"),
        ((70, 5, 99, 9), "a box outside the image"),  # upright it is 60 wide
    ],
)
def test_boxes_that_cut_nothing_useful_out(tmp_path: Path, box: tuple[float, ...], said: str) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # lies on its side: 80 × 60 in the file, 60 × 80 upright
    Pillow.new("RGB", (80, 60)).save(tmp_path / "1.png", exif=exif)
    sound = [with_box(i, tmp_path / "1.png", 5, 5, 30, 70) for i in range(2)]
    bad = [with_box(i, tmp_path / "1.png", *box) for i in range(2, 6)]
    report = checked(tmp_path, [*sound, *bad], pictures=True)["train"]
    [problem] = report.problems
    assert problem.startswith("4 object crops have a box ") and said in problem
    assert "1.png, which has 60 × 80 pixels" in problem and "train.jsonl:4 (post2)" in problem
    assert "a box is [left, top, right, bottom], in pixels of the upright image" in problem
    if box == (40, 20, 15, 10):
        assert (
            "these look like [x, y, width, height], and the first would be [40.0, 20.0, 55.0, 30.0]"
            in problem
        )


def test_boxes_that_nobody_reads_stop_nothing(tmp_path: Path) -> None:
    Pillow.new("RGB", (60, 80)).save(tmp_path / "1.png")
    outside = [with_box(i, tmp_path / "1.png", 100, 100, 120, 120) for i in range(3)]
    assert checked(tmp_path, outside)["train"].problems == []


def test_boxes_that_reach_over_the_edge_are_counted_in_a_warning(tmp_path: Path) -> None:
    Pillow.new("RGB", (60, 80)).save(tmp_path / "1.png")
    within = [with_box(0, tmp_path / "1.png", 0, 0, 60, 80), with_box(1, tmp_path / "1.png", -1, 5, 61, 81)]
    over = [
        with_box(i, tmp_path / "1.png", *box)
        for i, box in enumerate([(-5, 10, 99, 70), (-1.5, 0, 9, 9), (0, 0, 9, 82)], 2)
    ]
    report = checked(tmp_path, [*within, *over], pictures=True)["train"]
    assert report.problems == []
    [warning] = [said for said in report.warnings if "box" in said]
    assert warning.startswith(
        "3 object crops have a box that reaches over the edge of the image ([-5.0, 10.0, 99.0, 70.0] in "
    )
    assert "train.jsonl:4 (post2)" in warning and "only the part inside the image is used" in warning


# Pictures


def test_what_decoding_alone_finds_is_listed_in_full(tmp_path: Path) -> None:
    posts = []
    for i in range(7):
        Pillow.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / f"{i}.jpg")
        posts.append(post(i, images=[str(tmp_path / f"{i}.jpg")]))
    for i in range(2, 7):
        whole = (tmp_path / f"{i}.jpg").read_bytes()
        (tmp_path / f"{i}.jpg").write_bytes(whole[: len(whole) // 2])
    recipe = recipe_of(tmp_path, posts, DEV, pictures=True)
    assert check(recipe)["train"].problems == []
    reports = check(recipe, decode=True)
    [problem] = reports["train"].problems
    assert problem.startswith("5 of 7 images cannot be used (5 broken: ") and problem.count(".jpg") == 3
    listed = list_in_full(recipe, reports)
    assert listed is not None
    lines = listed.read_text(encoding="utf-8").splitlines()
    assert [line.partition(".jpg")[0][-1] for line in lines if ".jpg" in line] == ["2", "3", "4", "5", "6"]
    shown = CliRunner().invoke(
        main, ["check", str(recipe.path), "--decode", "--list", str(tmp_path / "bad.tsv")]
    )
    assert shown.exit_code == 1 and "bad.tsv" in shown.output
    assert (tmp_path / "bad.tsv").read_text(encoding="utf-8").splitlines() == lines


# All at once, and the same in training


def test_a_split_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    recipe = recipe_of(
        tmp_path, [post(0), post(0), post(1)], [post(9, {"start": 3, "end": 5, "label": "LOC"})]
    )
    (tmp_path / "dev.jsonl").write_text('{"format": 1, "kind": "examples"}\n{"id": 5}\n', encoding="utf-8")
    reports = check(recipe)
    (told,) = (problem for problem in reports["train"].problems if "'post0'" in problem)
    assert told.startswith(f"the id 'post0' occurs twice: {tmp_path}/train.jsonl:3\n  → ")
    assert "dev.jsonl:2" in reports["dev"].problems[0]
    shown = CliRunner().invoke(main, ["check", str(recipe.path)])
    assert shown.exit_code == 1 and "train.jsonl:3" in shown.output and "dev.jsonl:2" in shown.output


class Notes:
    def __init__(self) -> None:
        self.said: list[str] = []

    @hookimpl
    def mmkit_note(self, message: str) -> None:
        self.said.append(message)


def test_training_refuses_and_warns_in_the_same_words(sample_recipe: Path, tmp_path: Path) -> None:
    data = load_recipe(sample_recipe).config["data"]
    folder = shutil.copytree(data["train"]["root"], tmp_path / "data")
    text = (folder / data["train"]["file"]).read_text(encoding="utf-8").replace("B-PER", "B-per", 3)
    (folder / "mixed.txt").write_text(text, encoding="utf-8")
    roots = {f"data.{split}.root": str(folder) for split in ("train", "dev", "test")}
    files = {"data.train.file": "mixed.txt", "data.test.file": data["train"]["file"]}
    recipe = load_recipe(
        sample_recipe, roots | files | {"model.decoder.types": ["PER", "LOC", "ORG", "OTHER"]}
    )
    reports, notes = check(recipe), Notes()
    [problem] = reports["train"].problems
    with raises("task.unknown-span-type") as caught:
        train(recipe, tmp_path / "run", device="cpu", quiet=True, hooks=[notes])
    assert str(caught.value) == f"data.train: {problem}" and "3 spans have a type" in problem
    warned = [
        f"data.{split}: warning: {said}" for split, report in reports.items() for said in report.warnings
    ]
    assert warned and [note for note in notes.said if ": warning: " in note] == warned
    assert not (tmp_path / "run").exists()


def test_notes_that_an_encoder_reads_have_to_be_there(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, [post(0, notes={"mine": 1}), post(1), post(2, notes={"mine": "x"})], DEV)
    parts = fitting_parts(recipe)
    encoders = {**parts.encoders, "given": GivenSimilarity("mine")}
    splits = {"train": read_split(recipe, "train")}
    problems = examine(recipe, replace(parts, encoders=encoders), splits)["train"].problems
    assert (
        len(problems) == 2
        and "train.jsonl:3 (post1)" in problems[0]
        and "train.jsonl:4 (post2)" in problems[1]
    )
    assert problems[0].startswith("model.encoders.given: there is no note 'mine'")
    assert examine(recipe, replace(parts, encoders=encoders), splits, annotated=False)["train"].problems == []


def test_no_figure_is_shown_of_nothing() -> None:
    metrics = {"spans": SpanF1(), "relations": RelationF1()}
    found = score(metrics, [Example.from_tokens("a", ["hi"], spans=(Span(0, 1, "PER"),))], [Prediction("a")])
    assert found["spans.f1"] == 0.0 and not any(name.startswith("relations.") for name in found)
    said = nothing_to_score(metrics, found)
    assert said.startswith("nothing to score, so no relations.precision, relations.recall, relations.f1")
    assert nothing_to_score({"spans": SpanF1()}, found) == ""
    check_score(metrics, {"spans.f1": 1.0, "relations.f1.couple": 0.5})  # known, whatever there is to score


def test_what_another_split_cannot_be_scored_by_is_warned_of(tmp_path: Path) -> None:
    both = {"metrics.relations.@metrics": "mmkit.relation_f1.v1"}
    report = checked(tmp_path, SOUND, DEV, overrides=both)["dev"]
    assert report.problems == []
    unscored = "no example has anything that relations.precision, relations.recall, relations.f1"
    assert any(said.startswith(unscored) for said in report.warnings)


def test_pairs_that_stand_twice_in_an_example(tmp_path: Path) -> None:
    [lives] = pair(0, "lives_in")["relations"]
    posts = [pair(0, "lives_in"), pair(1, "works_for"), pair(2, "None")]
    posts.append(post(3, spans=(), relations=[lives, {**lives, "label": "works_for"}]))
    posts.append(post(4, spans=(), relations=[lives] * 3))
    report = checked(tmp_path, posts, [pair(9, "lives_in")], parts=CLASSIFIER)["train"]
    said = "\n".join(report.warnings)
    assert report.problems == []
    assert "1 pair has a second, different relation in the same example" in said
    assert "train.jsonl:5 (post3)" in said
    assert "2 relations stand a second time in the same example" in said and "train.jsonl:6 (post4)" in said


def test_what_stops_training_is_said_before_annotators_run(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, [post(0, {"start": 3, "end": 5, "label": "LOC"})], DEV)

    def look(raw: Mapping[str, Split]) -> None:
        refuse(examine(recipe, fitting_parts(recipe), raw, annotated=False, pictures=False), recipe)

    class Never(Annotation):
        def annotate_split(self, split: Split, entities: object = ()) -> None:
            raise AssertionError("annotators ran")

    with raises("task.span-overlap"):
        read_splits(recipe, ["train", "dev"], annotation=Never({}), look=look)


def test_evaluation_says_which_labels_the_model_never_learnt() -> None:
    there = {"spans": Counter({"PER": 2, "GOD": 3}), "relations": Counter({"r": 1})}
    assert _unlearnt(there, {"types": ["PER"], "relations": ["r"]}) == [
        "spans labels that the model never learnt, so that it cannot find them: 'GOD' (3)"
    ]
    assert _unlearnt(there, {}) == []


def test_examples_without_words_are_no_sentences_of_train() -> None:
    def of(name: str, *examples: Example) -> SplitReport:
        return SplitReport(Split(name, list(examples)))

    bare, said = Example.from_tokens("a", [], entity="Q1"), Example.from_tokens("b", ["hi"])
    reports = {name: of(name, bare, said) for name in ("train", "dev")}
    _compare(reports)
    assert reports["dev"].warnings == ["1 sentence is also in train: b"]
