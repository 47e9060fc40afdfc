"""Reading what a run predicted, beside the data that it is for."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from mmkit import Example, Prediction, Relation, Span
from mmkit.inference.results import read_results
from raising import raises
from scored_runs import write_data, write_run

EXAMPLES = [Example.from_tokens(f"p{i}", ["see", "Mara"], spans=(Span(1, 2, "PER"),)) for i in range(3)]
PREDICTIONS = [Prediction(x.id, x.spans, (0.5,)) for x in EXAMPLES]


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data", EXAMPLES)


@pytest.fixture
def run(tmp_path, data):
    return write_run(tmp_path / "run", data, PREDICTIONS, figures={"scores.f1": 0.5})


def test_predictions_stand_beside_their_examples(run, data):
    known = {}
    results = read_results(run, known=known)
    assert [(x.id, x.spans) for x in results.examples] == [(x.id, x.spans) for x in EXAMPLES]
    assert results.predictions == PREDICTIONS
    assert results.figures == {"scores.f1": 0.5} and results.facts["status"] == "completed"
    assert [file["file"] for file in results.files] == [str(data / "test.jsonl")]
    again = read_results(run, known=known)
    assert again.examples[0] is results.examples[0] and len(known) == 1


def test_the_last_evaluation_counts(run):
    evaluations = run / "evaluations"
    evaluations.mkdir()
    origin = json.loads((run / "run.json").read_text())["data"]["test"]
    (evaluations / "test.json").write_text(json.dumps({"split": "test", "scores.f1": 0.75, "data": origin}))
    assert read_results(run).figures == {"scores.f1": 0.75}
    (evaluations / "test.json").write_text("[]")
    with raises("run.results", match="test"):
        read_results(run)


def test_data_that_have_moved(run, data, tmp_path):
    shutil.move(data, tmp_path / "moved")
    with raises("file.missing"):
        read_results(run)
    assert len(read_results(run, overrides={"data.test.root": str(tmp_path / "moved")}).examples) == 3


def test_pairs_of_one_sentence_are_separate(tmp_path):
    a, b, c = Span(0, 1, "PER"), Span(2, 3, "LOC"), Span(4, 5, "ORG")
    pairs = (Relation(a, b, "born"), Relation(a, c, "None"))
    data = write_data(tmp_path / "data", [Example.from_tokens("s", list("abcde"), relations=pairs)])
    told = [Prediction(f"s#{i}", relations=(replace(pair, label="works"),)) for i, pair in enumerate(pairs)]
    results = read_results(write_run(tmp_path / "run", data, told, "relations"))
    assert [x.relations for x in results.examples] == [(pair,) for pair in pairs]


def test_what_does_not_belong_together_is_refused(run, data):
    with raises("run.no-predictions", match="train"):
        read_results(run, "train")
    with raises("data.no-split", match="tst"):
        read_results(run, "tst")
    text = (data / "test.jsonl").read_text(encoding="utf-8")
    (data / "test.jsonl").write_text(text.replace("see", "saw"), encoding="utf-8")
    with raises("run.data-changed", match="test.jsonl"):
        read_results(run)
    facts = json.loads((run / "run.json").read_text())
    facts["data"]["test"]["files"] = []  # as of a run that an older version wrote
    (run / "run.json").write_text(json.dumps(facts))
    assert len(read_results(run).examples) == 3
    (data / "test.jsonl").write_text(text.replace("p0", "q0"), encoding="utf-8")
    with raises("predictions.unmatched", match="q0"):
        read_results(run)
