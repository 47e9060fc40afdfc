"""`mmkit score` as a user types it, on files of every origin."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit.cli import main
from mmkit.data.jsonl import write_jsonl
from mmkit.data.predictions import read_gold, read_predictions
from mmkit.data.types import Entity, Example, Prediction, Relation, Span
from mmkit.errors import DataError
from mmkit.hooks import hookimpl, registered
from mmkit.inference.predictor import describe
from mmkit.inference.score import published_forms

TOKENS = ("Jordan", "visits", "Paris")
JORDAN, PARIS = Span(0, 1, "per"), Span(2, 3, "loc")
EXAMPLES = [
    Example.from_tokens(id, TOKENS, spans=(JORDAN, PARIS), relations=(Relation(JORDAN, PARIS, "visits"),))
    for id in ("a", "b")
]
ORG = Span(2, 3, "org")
PREDICTIONS = [
    Prediction.of(EXAMPLES[0]),
    Prediction("b", (JORDAN, ORG), (0.9, 0.8), (Relation(JORDAN, ORG, "visits"),), (0.7,)),
]
EXPECTED = {"entity_f1": 0.75, "triple_f1": 1.0, "quintuple_f1": 0.5}
JOINT = ("--metric", "mmkit.joint_f1.v1", "--per_type", "false", "--json")


def mmkit(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "gold.jsonl", EXAMPLES, "examples")
    return tmp_path / "gold.jsonl"


def canonical(folder: Path, predictions: list[Prediction]) -> Path:
    write_jsonl(folder / "found.jsonl", predictions, "predictions")
    return folder / "found.jsonl"


def described(folder: Path, predictions: list[Prediction], **changes: Any) -> Path:
    """As `mmkit predict --output` writes it."""
    by_id = {example.id: example for example in EXAMPLES}
    lines = (describe(by_id[p.id], p) | changes for p in predictions)
    (folder / "found.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return folder / "found.jsonl"


def authors(folder: Path) -> Path:
    """As TESGA's authors publish both sides."""
    gold = {"text": "Jordan visits Paris", "target_list": [["Jordan", "visits", "Paris", "per", "loc"]]}
    right = {
        "pred_entity": [{"Jordan": "per"}, {"Paris": "loc"}],
        "pred_triple": [["Jordan", "visits", "Paris"]],
    }
    wrong = right | {"pred_entity": [{"Jordan": "per"}, {"Paris": "org"}]}
    records = [gold | right | {"img_id": "a.jpg"}, gold | wrong | {"img_id": "b.jpg"}]
    (folder / "authors.json").write_text(json.dumps(records), encoding="utf-8")
    return folder / "authors.json"


def entities(folder: Path) -> Path:
    write_jsonl(folder / "kb.jsonl", [Entity("Q1", "Paris")], "entities")
    return folder / "kb.jsonl"


def lines(folder: Path, text: str) -> Path:
    (folder / "found.txt").write_text(text)
    return folder / "found.txt"


def figures(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("write", [canonical, described])
def test_predictions_are_scored_by_position_in_whatever_order(gold: Path, tmp_path: Path, write: Any) -> None:
    found = figures(mmkit("score", gold, write(tmp_path, PREDICTIONS[::-1]), *JOINT))
    assert found["metric"] == "mmkit.joint_f1.v1" and found["examples"] == 2
    assert {name: found[name] for name in EXPECTED} == EXPECTED


@pytest.mark.parametrize("write", [canonical, described, lambda folder, _: authors(folder)])
def test_predictions_of_every_origin_are_scored_by_string(gold: Path, tmp_path: Path, write: Any) -> None:
    for truth in (gold, authors(tmp_path)):
        found = figures(mmkit("score", truth, write(tmp_path, PREDICTIONS), *JOINT, "--match", "string"))
        assert {name: found[name] for name in EXPECTED} == EXPECTED


def test_other_metrics_and_a_second_annotation_are_scored_too(gold: Path, tmp_path: Path) -> None:
    assert figures(mmkit("score", gold, gold, "--metric", "mmkit.relation_f1.v1", "--json"))["f1"] == 1.0
    found = canonical(tmp_path, PREDICTIONS)
    assert figures(mmkit("score", gold, found, "--metric", "mmkit.span_f1.v1", "--json"))["f1"] == 0.75


def test_words_stay_with_examples_that_are_taken_as_predictions(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "gold.jsonl", read_gold(authors(tmp_path), published_forms()), "examples")
    found = figures(mmkit("score", authors(tmp_path), tmp_path / "gold.jsonl", *JOINT, "--match", "string"))
    assert found["quintuple_f1"] == 1.0


def test_links_are_scored_by_their_order(tmp_path: Path) -> None:
    examples = [Example.from_tokens("a", TOKENS, entity="Q1"), Example.from_tokens("b", TOKENS, entity="Q2")]
    write_jsonl(tmp_path / "gold.jsonl", examples, "examples")
    found = [Prediction(x.id, links=("Q1", "Q2"), link_scores=(0.9, 0.8)) for x in examples]
    linking = ("--metric", "mmkit.linking.v1", "--json")
    for path in (canonical(tmp_path, found), described(tmp_path, found)):
        assert figures(mmkit("score", tmp_path / "gold.jsonl", path, *linking))["top1"] == 0.5


def test_a_mean_rank_is_shown_as_it_is(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "gold.jsonl", [Example.from_tokens("a", TOKENS, entity="Q2")], "examples")
    found = canonical(tmp_path, [Prediction("a", links=("Q1", "Q2"), link_scores=(0.9, 0.8))])
    done = mmkit("score", tmp_path / "gold.jsonl", found, "--metric", "mmkit.linking.v1")
    assert done.exit_code == 0, done.output
    rows = [line.split("│")[1:3] for line in done.stdout.splitlines() if "linking." in line]
    shown = {name.strip(): value.strip() for name, value in rows}
    assert (shown["linking.mean_rank"], shown["linking.mrr"]) == ("2.00", "50.00")
    assert "%, or a rank" in done.stdout


def test_figures_are_shown_as_a_table_of_percentages(gold: Path, tmp_path: Path) -> None:
    done = mmkit("score", gold, canonical(tmp_path, PREDICTIONS), "--metric", "mmkit.joint_f1.v1")
    assert done.exit_code == 0, done.output
    assert "found.jsonl" in done.stdout
    rows = [line.split("│")[1:3] for line in done.stdout.splitlines() if "joint_f1." in line]
    assert {name.strip(): value.strip() for name, value in rows}["joint_f1.entity_f1"] == "75.00"


def test_files_without_examples_or_of_another_form_say_what_to_give(gold: Path, tmp_path: Path) -> None:
    other = tmp_path / "x.json"
    record = {"text": "a b", "img_id": "1.jpg", "triple_list": [], "ent_pair_list": []}
    for text, said in (
        ("[]", "there is no example to score"),
        (json.dumps([record]), "mmkit convert"),
        ('{\n "a": []}', "expected is jsonlines"),
    ):
        other.write_text(text, encoding="utf-8")
        done = mmkit("score", other, gold, *JOINT)
        assert done.exit_code == 2 and "x.json" in done.stderr and said in done.stderr


def test_a_plugin_whose_form_cannot_be_loaded_stops_no_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Plugin:
        @hookimpl
        def mmkit_prediction_forms(self) -> dict[str, str]:
            return {"leaves": "leaves_gone:Leaves"}

    monkeypatch.setattr("mmkit.hooks.broken", broken := {})
    monkeypatch.setattr("mmkit.inference.score.broken", broken)
    others = len(published_forms())
    with registered(Plugin()):
        assert len(published_forms()) == others
    (told,) = broken.values()
    assert "its form 'leaves' cannot be loaded" in told and "leaves_gone" in told


def test_there_is_no_score_of_nothing(gold: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "bare.jsonl", [replace(x, spans=(), relations=()) for x in EXAMPLES], "examples")
    bare = tmp_path / "bare.jsonl"
    done = mmkit("score", bare, bare, "--metric", "mmkit.relation_f1.v1")
    assert done.exit_code == 2 and "so there is no score" in done.stderr and "0.00" not in done.output
    some = mmkit("score", bare, canonical(tmp_path, [Prediction(x.id, x.spans) for x in EXAMPLES]), *JOINT)
    assert figures(some)["entity_f1"] == 0.0 and "triple_f1" not in figures(some)
    table = mmkit(
        "score", bare, canonical(tmp_path, [Prediction(x.id, x.spans) for x in EXAMPLES]), *JOINT[:-1]
    )
    assert "nothing to score, so no joint_f1.triple_f1" in table.stderr.replace(
        "mmkit.joint_f1.v1", "joint_f1"
    )


def test_a_label_that_seems_to_mean_no_relation_is_said(tmp_path: Path) -> None:
    labels = zip(EXAMPLES, ("none", "visits"), strict=True)
    labelled = [replace(x, relations=(replace(x.relations[0], label=label),)) for x, label in labels]
    write_jsonl(tmp_path / "gold.jsonl", labelled, "examples")
    score = ("score", tmp_path / "gold.jsonl", tmp_path / "gold.jsonl", "--metric", "mmkit.relation_f1.v1")
    assert "warning: the label 'none' of 1 relation seems to mean that there is none" in mmkit(*score).stderr
    assert "warning" not in mmkit(*score, "--none_label", "none").stderr


def test_ids_decide_unless_the_order_is_to(gold: Path, tmp_path: Path) -> None:
    other = canonical(tmp_path, [Prediction(id, p.spans) for id, p in zip("xy", PREDICTIONS, strict=True)])
    done = mmkit("score", gold, other, *JOINT)
    assert done.exit_code == 2
    assert "2 of 2 examples have no prediction: 'a', 'b'" in done.stderr
    assert "2 of 2 predictions are for no example: 'x', 'y'" in done.stderr and "--in-order" in done.stderr
    assert figures(mmkit("score", gold, other, *JOINT, "--in-order"))["entity_f1"] == 0.75
    few = mmkit("score", gold, canonical(tmp_path, PREDICTIONS[:1]), *JOINT, "--in-order")
    assert few.exit_code == 2 and "1 predictions for 2 examples" in few.stderr


def test_no_more_than_a_few_ids_are_named(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "gold.jsonl", [Example.from_tokens(str(i), TOKENS) for i in range(9)], "examples")
    done = mmkit("score", tmp_path / "gold.jsonl", canonical(tmp_path, []), *JOINT)
    assert "9 of 9 examples have no prediction: '0', '1', '2', ..." in done.stderr


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda f: canonical(f, [PREDICTIONS[0], PREDICTIONS[0]]), "the id 'a' occurs twice"),
        (lambda f: canonical(f, [PREDICTIONS[0], Prediction("b", (Span(2, 4, "x"),))]), "ends at token 4 of a"),
        (lambda f: described(f, PREDICTIONS, tokens=["Jordan", "visits", "Par", "is"]), "made of other tokens"),
        (lambda f: described(f, PREDICTIONS, entities=[{"start": 1}]), "found.jsonl:1: the field `entities[0].end`"),
        (lambda f: described(f, PREDICTIONS, entities=[3]), "`entities[0]` must be an object"),
        (lambda f: described(f, PREDICTIONS, relations=[{"head": 1}]), "`relations[0].head` must be an object"),
        (lambda f: described(f, []), "the file is empty"),
        (lambda f: f / "none.jsonl", "no such data file"),
        (entities, "the file holds entities, not predictions"),
        (lambda f: lines(f, '{"id": "a", "spans": []}'), "neither a header of jsonlines nor a prediction"),
        (lambda f: lines(f, "id,text"), "found.txt:1: not JSON"),
        (lambda f: lines(f, "[1]"), "record 0: `record` must be an object"),
    ],
)  # fmt: skip
def test_predictions_that_cannot_be_scored_are_one_message(
    gold: Path, tmp_path: Path, write: Any, message: str
) -> None:
    done = mmkit("score", gold, write(tmp_path), *JOINT)
    assert done.exit_code == 2
    assert message in done.stderr and "Traceback" not in done.output


@pytest.mark.parametrize("write", [canonical, described])
def test_predictions_are_no_gold_data(tmp_path: Path, write: Any) -> None:
    found = write(tmp_path, PREDICTIONS)
    done = mmkit("score", found, found, *JOINT)
    assert done.exit_code == 2
    assert "the file holds predictions" in done.stderr and "mmkit convert" in done.stderr


@pytest.mark.parametrize("metric", ["mmkit.joint_f1.v1", "mmkit.span_f1.v1"])
def test_strings_are_not_counted_by_position(tmp_path: Path, metric: str) -> None:
    done = mmkit("score", authors(tmp_path), authors(tmp_path), "--metric", metric)
    assert done.exit_code == 2
    assert "by their words, not by their positions" in done.stderr and 'match = "string"' in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "mmkit.join_f1.v1"], "did you mean 'mmkit.joint_f1.v1'"),
        (["--metric", "mmkit.joint_f1.v1", "--match", "strings"], "did you mean 'string'?"),
        (["--metric", "mmkit.joint_f1.v1", "--mach", "string"], "did you mean 'match'?"),
        ([], "Missing option '--metric'"),
    ],
)
def test_a_metric_and_its_settings_are_checked(gold: Path, arguments: list[str], message: str) -> None:
    done = mmkit("score", gold, gold, *arguments)
    assert done.exit_code == 2 and message in done.output


@pytest.mark.real_data
def test_the_published_predictions_give_the_published_figures(shared: Path) -> None:
    path = shared / "data" / "jmere" / "published_test_predictions.json"
    found = figures(mmkit("score", path, path, *JOINT, "--match", "string"))
    assert found["examples"] == 475
    assert (round(100 * found["triple_f1"], 2), round(100 * found["entity_f1"], 2)) == (60.08, 82.32)


VALUES = st.recursive(
    st.none() | st.integers(-1, 4) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)
TOLD = describe(EXAMPLES[0], PREDICTIONS[0])
LINE = st.one_of(
    VALUES, st.fixed_dictionaries({}, optional=dict.fromkeys(TOLD, VALUES)).map(lambda x: TOLD | x)
)


@given(
    st.one_of(
        st.binary(max_size=40),
        st.lists(LINE, max_size=3).map(lambda x: "\n".join(map(json.dumps, x)).encode()),
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_any_bytes_are_read_or_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    forms = published_forms()
    for read in (read_gold, read_predictions):
        try:
            assert read(tmp_path / "x", forms) is not None
        except DataError as error:
            assert str(error.where).startswith(str(tmp_path / "x"))
