"""What RiVEG's authors publish: read by `mmkit score`, and the numbers that follow from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmkit.cli import main
from mmkit.data.strings import STRINGS
from mmkit.data.types import Example, Prediction
from mmkit_gmner.mentions import SEEN
from mmkit_gmner.riveg import LabelForm, PredictionForm, RivegForm
from mmkit_gmner.triples import GroundedTriples
from raising import raises

GOLD = """71.jpg###Garfield Park(LOC)###a park###0###&[0, 0, 0, 0]
O_2.jpg###Warriors (NBA)(ORG)###a ### team###2###&[1.0, 2, 3, 4]&[5, 6, 7, 8]
"""
FOUND = """Imageid:71.jpg#7060###Garfield Park(LOC)###Garfield Park(LOC)-A park.###2
Imageid:3.jpg#ad92###Ada(PER)###Ada(PER)-x###0
"""


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_both_lists(tmp_path: Path) -> None:
    gold = [g for g, _ in LabelForm().read(written(tmp_path, "gold.txt", GOLD))]
    assert [g.id for g in gold] == ["71", "O_2"]
    assert gold[1].notes[STRINGS]["entities"] == [["Warriors (NBA)", "ORG"]]
    boxes = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]
    assert [g.notes[SEEN] for g in gold] == [[[]], [[{"image": 0, "box": box} for box in boxes]]]
    found = [p for _, p in PredictionForm().read(written(tmp_path, "found.txt", FOUND))]
    assert [(p.id, p.notes[SEEN]) for p in found] == [("71", [True]), ("3", [[]])]


def test_a_file_is_told_by_its_first_line() -> None:
    gold, found = GOLD.splitlines()[0], FOUND.splitlines()[0]
    assert [LabelForm().claims(line) for line in (gold, found, "{}")] == [True, False, False]
    assert [PredictionForm().claims(line) for line in (gold, found, "{}")] == [False, True, False]


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "71.jpg###A(LOC)###a###1###&[0, 0, 0, 0]",
        "71.jpg###A###a###2###&[1, 2, 3, 4]",
        "71.jpg###A(L)###a###2###&[1, 2]",
        f"71.jpg###A(L)###a###2###&[1, 2, 3, {'9' * 400}]",
        f"71.jpg###A(L)###a###2###&[1, 2, 3, {'9' * 5000}]",
        f"71.jpg###A(L)###a###2###&{'[' * 100_000}]",
        "71.jpg###A(L)###a###2###&[1, 2, 3, NaN]",
        "71.jpg###A(L)###a###2###&[1, 2, 3, 1e999]",
        "71.jpg###A(L)###a###2###&[1, 2, 3, true]",
        "71.jpg######a###2###&[1, 2, 3, 4]",
        "71.jpg###A(L)###2###&[1, 2, 3, 4]",
    ],
)
def test_another_line_is_named(tmp_path: Path, line: str) -> None:
    file = written(tmp_path, "gold.txt", GOLD + line + "\n")
    with raises("gmner.riveg-line", match="gold.txt:3"):
        list(LabelForm().read(file))


@pytest.mark.parametrize("form", [LabelForm(), PredictionForm()])
@pytest.mark.parametrize("line", ["71.jpg" + "###a" * 200_000, "Imageid:71.jpg#70" + "###a" * 200_000])
def test_a_long_line_takes_no_time(form: RivegForm, line: str) -> None:
    """With two searches for `###` inside one another, this takes hours."""
    assert not form.claims(line)


def test_a_description_may_hold_what_separates_fields(tmp_path: Path) -> None:
    line = "71.jpg###A(LOC)###a ###0###&[ team####2###&[1, 2, 3, 4]\n"
    ((gold, _),) = LabelForm().read(written(tmp_path, "gold.txt", line))
    assert gold.notes[SEEN] == [[{"image": 0, "box": [1, 2, 3, 4]}]]


def score(*arguments: Any) -> dict[str, float]:
    told = ["score", *map(str, arguments), "--metric", "gmner.triples.v1", "--match", "string", "--json"]
    done = CliRunner().invoke(main, told, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_scoring_lists_that_leave_out_posts_without_names(tmp_path: Path) -> None:
    own = score(written(tmp_path, "gold.txt", GOLD), written(tmp_path, "found.txt", FOUND))
    assert own["examples"] == 3 and own["mner_f1"] == 0.5 and own["gmner_f1"] == 0


@pytest.mark.real_data
def test_the_published_predictions(shared: Path) -> None:
    data = shared / "data" / "gmner"
    own = score(data / "GMNER_finall_label.txt", data / "OFAVE_to_OFAREC_augment.txt")
    found = {name: round(100 * own[f"mner_{name}"], 2) for name in ("precision", "recall", "f1")}
    assert found == {"precision": 86.27, "recall": 86.03, "f1": 86.15}


@pytest.mark.real_data
def test_the_published_predictions_in_detail(shared: Path) -> None:
    """Right triples that are not to be seen, right types with the right groundability, and names alone."""
    data = shared / "data" / "gmner"
    gold = {g.id: g for g, _ in LabelForm().read(data / "GMNER_finall_label.txt")}
    found = {p.id: p for _, p in PredictionForm().read(data / "OFAVE_to_OFAREC_augment.txt")}
    examples = [gold.get(id) or Example.from_tokens(id, ()) for id in sorted({*gold, *found})]

    def figures(predictions: list[Prediction]) -> GroundedTriples:
        metric = GroundedTriples(match="string")
        metric.update(examples, predictions)
        return metric

    told = [found.get(example.id, Prediction(example.id)) for example in examples]
    plain = figures(told)
    assert plain.example_counts()["gmner_f1"].sum(axis=0).tolist() == [1076, 2535, 2542]
    best = figures([with_gold_boxes(p, example) for p, example in zip(told, examples, strict=True)])
    scores = best.compute()
    assert best.example_counts()["gmner_f1"].sum(axis=0).tolist() == [1076 + 777, 2535, 2542]
    assert (round(100 * scores["gmner_f1"], 2), round(100 * scores["eeg_f1"], 2)) == (73.0, 77.53)
    one_type = [replace(p, notes=untyped(p.notes)) for p in told]
    examples = [replace(example, notes=untyped(example.notes)) for example in examples]
    assert round(100 * figures(one_type).compute()["mner_f1"], 2) == 91.9


def untyped(notes: Any) -> dict[str, Any]:
    if STRINGS not in notes:
        return {}
    entities = [[words, "X"] for words, _ in notes[STRINGS]["entities"]]
    return {**notes, STRINGS: {"entities": entities, "relations": []}}


def with_gold_boxes(prediction: Prediction, example: Example) -> Prediction:
    """The prediction with a gold box wherever both sides say that the photo shows the name."""
    if STRINGS not in prediction.notes or STRINGS not in example.notes:
        return prediction
    boxes = {
        words: seen
        for (words, _), seen in zip(example.notes[STRINGS]["entities"], example.notes[SEEN], strict=True)
        if seen
    }
    seen = [
        boxes.get(words, own) if own is True else own
        for (words, _), own in zip(prediction.notes[STRINGS]["entities"], prediction.notes[SEEN], strict=True)
    ]
    return replace(prediction, notes={**prediction.notes, SEEN: seen})
