"""Labels that are probably mistakes: said before training, with their number and their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmkit.checking.check import check
from mmkit.checking.report import SplitReport
from posts import CLASSIFIER, pair, post, recipe_of

RELATIONS = ["lives_in", "works_for", "lives_in"]


def train_report(folder: Path, posts: list[dict[str, Any]], **how: Any) -> SplitReport:
    dev = [pair(90, "lives_in")] if how.get("parts") is CLASSIFIER else [post(90)]
    return check(recipe_of(folder, posts, dev, **how))["train"]


def pairs(labels: list[str]) -> list[dict[str, Any]]:
    return [pair(i, label) for i, label in enumerate(labels)]


@pytest.mark.parametrize("absent", ["none", "NA", "n/a", "no_relation", "NULL", "Other", "/none/none/none"])
def test_a_label_that_seems_to_mean_no_relation_is_said(tmp_path: Path, absent: str) -> None:
    report = train_report(tmp_path, pairs([*RELATIONS, absent, absent]), parts=CLASSIFIER)
    assert report.problems == []
    [warning] = [said for said in report.warnings if "seems to mean that there is none" in said]
    assert f"the label {absent!r} of 2 relations" in warning and "train.jsonl:5 (post3)" in warning
    assert f"set model.decoder.none_label, metrics.found.none_label to {absent!r}" in warning
    settings = {"model.decoder.none_label": absent, "metrics.found.none_label": absent}
    again = train_report(tmp_path, pairs([*RELATIONS, absent]), parts=CLASSIFIER, overrides=settings)
    assert again.warnings == []


def test_an_empty_label_of_relations_is_said_once(tmp_path: Path) -> None:
    [warning] = train_report(tmp_path, pairs([*RELATIONS, "", ""]), parts=CLASSIFIER).warnings
    assert "2 relations with an empty label" in warning and "train.jsonl:5 (post3)" in warning
    assert "set model.decoder.none_label, metrics.found.none_label to ''; all of them" in warning
    settings = {"model.decoder.none_label": "", "metrics.found.none_label": ""}
    again = train_report(tmp_path, pairs([*RELATIONS, ""]), parts=CLASSIFIER, overrides=settings)
    assert again.warnings == []


def test_none_beside_none_is_a_near_double(tmp_path: Path) -> None:
    [warning] = train_report(tmp_path, pairs([*RELATIONS, "None", "None", "none"]), parts=CLASSIFIER).warnings
    assert "'None' (2) and 'none' (1)" in warning and "train.jsonl:7 (post5)" in warning


def test_real_relations_are_left_alone(tmp_path: Path) -> None:
    assert train_report(tmp_path, pairs([*RELATIONS, "None"]), parts=CLASSIFIER).warnings == []
    assert train_report(tmp_path, pairs(RELATIONS), parts=CLASSIFIER).warnings == []


def test_two_settings_that_disagree_on_what_no_relation_is_called(tmp_path: Path) -> None:
    overrides = {"metrics.found.none_label": "none"}
    [warning] = train_report(
        tmp_path, pairs([*RELATIONS, "none"]), parts=CLASSIFIER, overrides=overrides
    ).warnings
    assert "model.decoder.none_label = 'None', metrics.found.none_label = 'none'" in warning


def test_relations_that_are_all_the_same_teach_nothing(tmp_path: Path) -> None:
    reports = check(recipe_of(tmp_path, pairs(["None"] * 3), pairs(["None"] * 2), parts=CLASSIFIER))
    [warning] = reports["train"].warnings
    assert "all 3 relations have the same label 'None': there is nothing to learn" in warning
    assert reports["dev"].codes == ["data.nothing-to-score"]


def test_labels_that_are_tags_are_said(tmp_path: Path) -> None:
    first = {"start": 0, "end": 1}
    posts = [
        post(0, {**first, "label": "O"}),
        post(1, {**first, "label": "B-PER"}),
        post(2, {**first, "label": "S-LOC"}),
    ]
    report = train_report(tmp_path, posts)
    assert report.problems == []
    [warning] = report.warnings
    assert "3 spans with labels that look like tags: 'O' (1), 'B-PER' (1), 'S-LOC' (1)" in warning
    assert "train.jsonl:2 (post0)" in warning and "such as 'PER'" in warning
    assert train_report(tmp_path, [post(0, {**first, "label": "E-mail"})]).warnings == []


@pytest.mark.parametrize("label", ["", "  "])
def test_an_empty_type_cannot_be_tagged(tmp_path: Path, label: str) -> None:
    report = train_report(tmp_path, [post(0), post(1, {"start": 0, "end": 1, "label": label})])
    assert report.codes == ["data.empty-label"]
    assert (
        "1 span with an empty label" in report.problems[0] and "train.jsonl:3 (post1)" in report.problems[0]
    )


def test_types_that_differ_in_case_alone(tmp_path: Path) -> None:
    [warning] = train_report(
        tmp_path, [post(0), post(1), post(2, {"start": 0, "end": 1, "label": "per"})]
    ).warnings
    assert "'PER' (3) and 'per' (1)" in warning and "train.jsonl:4 (post2)" in warning


def test_labels_that_nobody_shows_and_labels_with_spaces(tmp_path: Path) -> None:
    types = {"model.decoder.types": ["PER", "LOC", "GPE"]}
    [warning] = train_report(tmp_path, [post(0)], overrides=types).warnings
    assert warning.startswith("no training example has 'GPE', which model.decoder.types names")
    [warning] = train_report(tmp_path, [post(0), post(1, {"start": 0, "end": 1, "label": "ORG "})]).warnings
    assert warning.startswith("labels of spans that begin or end with a space: 'ORG ' (1)")
    relations = {"model.decoder.relations": ["lives_in", "works_for"]}
    [warning] = train_report(tmp_path, pairs(["lives_in"]), parts=CLASSIFIER, overrides=relations).warnings[
        :1
    ]
    assert "'works_for', which model.decoder.relations names" in warning


@pytest.mark.parametrize(
    ("label", "misspelt"),
    [
        ("PRE", True),
        ("PEER", True),
        ("PR", False),
        ("PES", True),
        ("per", False),
        ("ORG", False),
        ("REP", False),
    ],
)
def test_a_label_that_is_hardly_there_and_nearly_another(tmp_path: Path, label: str, misspelt: bool) -> None:
    posts = [post(i, spans=[{"start": 0, "end": 1, "label": "PER" if i else label}]) for i in range(21)]
    told = [said for said in train_report(tmp_path, posts).warnings if "misspelt 'PER' (20)" in said]
    assert len(told) == misspelt and all("train.jsonl:2 (post0)" in said for said in told)
