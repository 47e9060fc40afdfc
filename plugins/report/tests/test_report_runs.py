"""`mmkit errors` and `mmkit compare` on run folders: what is shown, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mmkit import Entity, Example, Image, Prediction, Region, Span
from mmkit.hooks import hookimpl, registered
from mmkit.recipe import load_recipe
from mmkit_report.compare_command import compare as compare_command
from mmkit_report.comparison import compare
from mmkit_report.error_file import write_errors
from mmkit_report.errors_command import errors as errors_command
from mmkit_report.names import common_folder
from mmkit_report.report_command import report as report_command
from mmkit_report.scored import read_scored, runs_in
from raising import raises
from scored_runs import write_data, write_run

LABELS = ("PER", "LOC", "ORG")


def posts(number: int) -> list[Example]:
    """Sentences with one name each; the label follows from the number."""
    return [
        Example.from_tokens(
            f"p{i}", ["see", f"Name{i}", "in", "town", "now"], spans=(Span(1, 2, LABELS[i % 3]),)
        )
        for i in range(number)
    ]


def guesses(examples: list[Example], wrong: set[int]) -> list[Prediction]:
    """The gold spans, but another label where `wrong`."""
    found = []
    for i, x in enumerate(examples):
        span = x.spans[0]
        label = LABELS[(LABELS.index(span.label) + 1) % 3] if i in wrong else span.label
        found.append(Prediction(x.id, (replace(span, label=label),), (0.5 + 0.4 * (i / len(examples)),)))
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data", posts(60))


def run(tmp_path: Path, data: Path, name: str, wrong: set[int], **settings: str) -> Path:
    return write_run(tmp_path / name, data, guesses(posts(60), wrong), **settings)


def shown(command: object, *arguments: object) -> str:
    result = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result.output


def test_the_worst_errors_come_first(tmp_path, data):
    folder = run(tmp_path, data, "one", {3, 40, 50})
    lines = shown(errors_command, folder, "--json").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["p50", "p40", "p3"]  # the surest first
    first = json.loads(lines[0])
    assert first["errors"] == [
        {
            "what": "span",
            "kind": "wrong label",
            "gold": {"start": 1, "end": 2, "label": "ORG", "words": "Name50"},
            "predicted": {"start": 1, "end": 2, "label": "PER", "words": "Name50"},
            "score": pytest.approx(0.8333, abs=1e-3),
        }
    ]
    told = shown(errors_command, folder, "--top", "2")
    assert "Name50" in told and "Name40" in told and "Name3 " not in told
    assert "3 of 60 examples have errors, the worst 2 above" in told


def test_an_error_file_is_the_same_as_the_command(tmp_path, data):
    folder = run(tmp_path, data, "one", {3, 40})
    scored = read_scored(folder, "test")
    path = write_errors(tmp_path / "out", "test", scored.recipe, scored.examples, scored.predictions)
    head, *records = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(head) == {"format": 1, "kind": "errors", "split": "test", "examples": 60}
    assert records == shown(errors_command, folder, "--json").splitlines()


def test_an_error_file_is_not_written_through_a_link(tmp_path, data):
    folder = run(tmp_path, data, "one", {3})
    (tmp_path / "elsewhere").mkdir()
    (folder / "errors").symlink_to(tmp_path / "elsewhere")
    scored = read_scored(folder, "test")
    with raises("run.leads-out"):
        write_errors(folder, "test", scored.recipe, scored.examples, scored.predictions)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_texts_cannot_control_the_terminal(tmp_path):
    evil = Example.from_tokens(
        "\x1b[2Jid", ["\x1b]0;x\x07", "[red]bold[/red]"], spans=(Span(0, 1, "\x1b[31mPER"),)
    )
    data = write_data(tmp_path / "data", [evil])
    folder = write_run(tmp_path / "run", data, [Prediction(evil.id)])
    told = shown(errors_command, folder)
    assert "\x1b[2J" not in told and "\x07" not in told and "[red]bold[/red]" in told


def test_comparing_two_runs(tmp_path, data):
    base = run(tmp_path, data, "base", set(range(20)))
    other = run(tmp_path, data, "other", {0, 1, 59}, training__epochs="7", recipe__seed="2")
    found = compare([base, other], "test", resamples=2000)
    assert found.groups[0].figure("scores.f1").mean == pytest.approx(40 / 60)
    (test,) = found.tests["scores.f1"]
    assert test.difference == pytest.approx(17 / 60)
    assert test.p_randomisation < 0.01 and test.p_bootstrap < 0.01 and 0 < test.low < test.high
    assert found.flips[0].lost == ["p59"] and found.flips[0].gained == [f"p{i}" for i in range(2, 20)]
    assert found.settings["training.epochs"][1] == 7 and found.settings["recipe.seed"] == [1, 2]
    assert set(found.settings) == {"training.epochs", "recipe.seed"}


def test_p_values_are_corrected_for_several_runs(tmp_path, data):
    base = run(tmp_path, data, "base", set(range(12)))
    others = [run(tmp_path, data, f"r{i}", set(range(6 + i))) for i in range(3)]
    found = compare([base, *others], "test", resamples=1000)
    raw = [test.p_randomisation for test in found.tests["scores.f1"]]
    assert all(c >= p for c, p in zip(found.corrected["scores.f1"], raw, strict=True))
    assert min(found.corrected["scores.f1"]) == pytest.approx(3 * min(raw))


def test_a_folder_of_seeds_is_one(tmp_path, data):
    for seed in range(3):
        run(tmp_path, data, f"a/{seed}", set(range(10 + seed)), recipe__seed=str(seed))
        run(tmp_path, data, f"b/{seed}", set(range(seed)), recipe__seed=str(seed), training__epochs="3")
    found = compare([tmp_path / "a", tmp_path / "b"], "test", resamples=500)
    spread = found.groups[0].figure("scores.f1")
    scores = [(50 - seed) / 60 for seed in range(3)]
    assert (spread.mean, spread.std, spread.runs) == pytest.approx(
        (np.mean(scores), np.std(scores, ddof=1), 3)
    )
    assert set(found.settings) == {"training.epochs"}  # the same seeds on both sides
    assert found.tests["scores.f1"][0].difference == pytest.approx(10 / 60)
    told = shown(compare_command, tmp_path / "a", tmp_path / "b", "--markdown", "--resamples", "100")
    assert "81.67 ± 1.67" in told and "b (3 runs) |" in told


def test_a_comparison_of_two_fits_a_terminal(tmp_path, data, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    for name, wrong in (("a", {1, 2}), ("b", {5}), ("c", {7})):
        run(tmp_path, data, name, wrong, training__epochs=str(len(wrong)))
    two = shown(compare_command, "a", "b", "--resamples", "100").splitlines()
    (head,) = (line for line in two if "difference " in line and "of" not in line)
    assert "p (bootstrap)" in head and "p (randomisation)" in head and "Holm" not in head
    assert "difference of b from a" in "\n".join(two)
    three = shown(compare_command, "a", "b", "c", "--resamples", "100", "--markdown")
    assert (
        "| score | run | difference | 95 % interval | p (bootstrap) | p (randomisation) | p (Holm) |" in three
    )


def test_runs_are_called_by_what_tells_them_apart(tmp_path, data):
    one = run(tmp_path, data, "some/deep/a/seed1", {1, 2})
    other = run(tmp_path, data, "some/deep/b/seed1", {5})
    told = shown(compare_command, one, other, "--markdown", "--resamples", "100")
    assert "| score | a/seed1 | b/seed1 |" in told and "difference of b/seed1 from a/seed1" in told
    assert "some/deep" not in told
    assert common_folder(["runs/a", "runs/ab/x", "other"]) == ""
    assert common_folder(["runs/a", "runs/a"]) == "runs/"
    assert common_folder(["/x/runs/a/1", "/x/runs/b"]) == "/x/runs/"
    assert common_folder(["/x/runs/a"]) == ""


def test_each_label_is_compared(tmp_path, data):
    one, other = run(tmp_path, data, "a", {1, 2}), run(tmp_path, data, "b", set())
    told = shown(compare_command, one, other, "--markdown", "--resamples", "100")
    rows = told.partition("| label | a | b |")[2].split("\n\n")[0].splitlines()[2:]
    expected = [
        (label, *(100 * read_scored(x, "test").figures[f"scores.f1.{label}"] for x in (one, other)))
        for label in ("LOC", "ORG", "PER")
    ]
    assert rows == [f"| {label} | {a:.2f} | {b:.2f} |" for label, a, b in expected]
    assert all(a <= b for _, a, b in expected) and expected[0][1] < 100


def test_recorded_scores_are_shown(tmp_path, data):
    one = write_run(
        tmp_path / "one", data, guesses(posts(60), {1}), figures={"scores.f1": 0.5, "scores.own": 0.25}
    )
    assert read_scored(one, "test").figures["scores.f1"] == 0.5
    assert read_scored(one, "test").figures["scores.own"] == 0.25
    assert read_scored(one, "test").figures["scores.precision"] == pytest.approx(59 / 60)


def test_a_run_from_before_mean_ranks_is_compared_with_a_new_one(tmp_path):
    examples = [Example.from_tokens(f"p{i}", ["see", "it"], entity="Q0", candidates=()) for i in range(2)]
    data = write_data(tmp_path / "data", examples, [Entity(f"Q{i}", f"Name {i}") for i in range(9)])
    told = [Prediction("p0", links=("Q0", "Q1", "Q2")), Prediction("p1", links=("Q3", "Q4"))]
    old = {"scores.top1": 0.5, "scores.top5": 0.5, "scores.mrr": 0.5625}
    new = {**old, "scores.top3": 0.5, "scores.mean_rank": 4.5}
    folders = [
        write_run(
            tmp_path / name, data, told, "links", figures=figures, metrics=[{"split": "dev", **figures}]
        )
        for name, figures in (("old", old), ("new", new))
    ]
    found = shown(compare_command, *folders, "--markdown", "--resamples", "100")
    assert "| scores.mean\\_rank | - | 4.50 |" in found and "| scores.mrr | 56.25 | 56.25 |" in found
    assert "mean ranks as they are" in found
    alone = compare([folders[0], folders[0]], "test", resamples=100)
    assert "scores.mean_rank" not in alone.figures


def test_other_data_are_refused_by_the_names_of_files(tmp_path, data):
    one = run(tmp_path, data, "one", set())
    more = [*posts(60), Example.from_tokens("last", ["x"])]
    other_data = write_data(tmp_path / "data2", more)
    other = write_run(tmp_path / "other", other_data, [*guesses(posts(60), set()), Prediction("last")])
    with raises("report.other-data", match=str(other_data / "test.jsonl")) as caught:
        compare([one, other], "test")
    assert str(data / "test.jsonl") in str(caught.value)


def test_the_same_file_read_in_another_way_is_refused(tmp_path, data):
    one = run(tmp_path, data, "one", set())
    relabelled = write_data(tmp_path / "data2", posts(60))
    two = run(tmp_path, relabelled, "two", set())
    assert compare([one, two], "test", resamples=100).flips[0].lost == []  # the same file at another place
    examples = [replace(x, spans=()) for x in posts(60)]
    other = write_run(tmp_path / "three", write_data(tmp_path / "data3", examples), guesses(posts(60), set()))
    facts = json.loads((other / "run.json").read_text())
    facts["data"]["test"]["files"] = []
    (other / "run.json").write_text(json.dumps(facts))
    with raises("report.other-data"):
        compare([one, other], "test")


@pytest.mark.parametrize("form", ["--markdown", "--latex", "--json"])
def test_forms_print_what_was_compared(tmp_path, data, form):
    base, other = (
        run(tmp_path, data, "base_%", {1, 2}),
        run(tmp_path, data, "other", {5}, training__epochs="9"),
    )
    told = shown(compare_command, base, other, form, "--resamples", "200")
    if form == "--json":
        content = json.loads(told)
        assert content["groups"][1]["flips"] == {"gained": ["p1", "p2"], "lost": ["p5"]}
        assert content["settings"]["training.epochs"][1] == {"value": 9}
        assert 0 < content["groups"][1]["tests"]["scores.f1"]["p_bootstrap"] <= 1
    elif form == "--markdown":
        assert "| scores.f1 | 96.67 | 98.33 |".replace("_", "\\_") in told
        assert "base\\_%" in told
    else:
        assert r"\begin{tabular}{lrr}" in told and r"scores.f1 & 96.67 & 98.33 \\" in told
        assert r"base\_\%" in told


def test_one_run_is_not_compared(tmp_path, data):
    with raises("report.one-run"):
        compare([run(tmp_path, data, "one", set())], "test")


def test_what_is_no_run_is_refused(tmp_path, data):
    folder = run(tmp_path, data, "runs/first", set())
    assert runs_in(folder) == [folder] and runs_in(tmp_path / "runs") == [folder]
    with raises("run.not-a-run", match="did you mean .*runs/first"):
        runs_in(tmp_path / "runs" / "frist")
    with raises("run.not-a-run", match="no folder of runs"):
        runs_in(data)


def test_the_recipe_of_the_fixture_is_complete(tmp_path, data):
    recipe = load_recipe(run(tmp_path, data, "one", set()) / "recipe.cfg")
    assert recipe.to_str() == (tmp_path / "one" / "recipe.cfg").read_text(encoding="utf-8")


class Shelf:
    """A plugin that opens `shelf://NAME`, a run in a folder, and counts how often."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[str]()

    @hookimpl
    def mmkit_open_run(self, address: str) -> Path | None:
        self.asked.append(address)
        return self.folder / address.removeprefix("shelf://") if address.startswith("shelf://") else None


def test_an_address_names_a_run_in_each_command(tmp_path, data):
    run(tmp_path, data, "one", {3})
    run(tmp_path, data, "other", {4, 5})
    with registered(Shelf(tmp_path)):
        errors = [
            json.loads(line)["id"] for line in shown(errors_command, "shelf://one", "--json").splitlines()
        ]
        found = json.loads(shown(compare_command, "shelf://one", tmp_path / "other", "--json"))
        shown(report_command, "shelf://one", "--output", tmp_path / "report.html")
    assert errors == ["p3"]
    assert [group["name"] for group in found["groups"]] == ["shelf://one", str(tmp_path / "other")]
    assert "<title>shelf://one: test</title>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_address_without_predictions_is_one_message(tmp_path, data):
    one = run(tmp_path, data, "one", {3})
    (one / "predictions" / "test.jsonl").unlink()
    shelf = Shelf(tmp_path)
    with registered(shelf), raises("run.no-predictions", match="^shelf://one: ") as caught:
        read_scored("shelf://one", "test")
    assert str(tmp_path) not in str(caught.value) and shelf.asked == ["shelf://one"]


@pytest.mark.parametrize("joined", [False, True])
def test_data_that_have_moved_are_named_on_the_command_line(tmp_path, data, joined):
    """`--section.key value` stands between runs, or after them."""
    folders = [run(tmp_path, data, name, {3}) for name in ("one", "other")]
    data.rename(tmp_path / "moved")
    moved = (
        [f"--data.test.root={tmp_path / 'moved'}"]
        if joined
        else ["--data.test.root", str(tmp_path / "moved")]
    )
    found = json.loads(shown(compare_command, folders[0], *moved, folders[1], "--json"))
    assert [group["name"] for group in found["groups"]] == list(map(str, folders))
    shown(report_command, folders[0], *moved, "--output", tmp_path / "report.html")
    assert (tmp_path / "report.html").is_file()


def test_a_command_without_a_run_says_so():
    done = CliRunner().invoke(report_command, ["--data.test.root", "x"])
    assert done.exit_code == 2 and "Missing argument 'RUN...'" in done.output


def test_a_wrong_box_is_a_kind_of_error(tmp_path):
    pytest.importorskip("mmkit_gmner", reason="mmkit-gmner is not installed")
    here, there = Region(0, (0.0, 0.0, 40.0, 40.0)), Region(0, (60.0, 20.0, 99.5, 80.0))
    shown_in = {"p0": here, "p1": here, "p3": here}
    gold, told = [], []
    for x in posts(4):
        regions = (shown_in[x.id],) if x.id in shown_in else ()
        gold.append(replace(x, images=(Image("x.jpg"),), spans=(replace(x.spans[0], regions=regions),)))
        said = {"p0": (here,), "p1": (there,), "p2": (there,), "p3": ()}[x.id]
        told.append(Prediction(x.id, (replace(x.spans[0], regions=said),), (0.9,)))
    folder = write_run(tmp_path / "run", write_data(tmp_path / "data", gold), told, "grounded")
    scored = read_scored(folder, "test")
    assert scored.figures["scores.mner_f1"] == 1 and scored.figures["scores.gmner_f1"] == 0.25
    lines = [json.loads(line) for line in shown(errors_command, folder, "--json").splitlines()]
    assert [line["id"] for line in lines] == ["p1", "p2", "p3"]
    first = lines[0]["errors"][0]
    assert first["kind"] == "wrong box" and first["predicted"]["regions"][0]["box"] == list(there.box)
    text = " ".join(shown(errors_command, folder).split())
    assert "gold LOC Name1 in the box 0, 0, 40, 40, predicted LOC Name1 in the box 60, 20, 99.5, 80" in text
    assert "gold PER Name3 in the box 0, 0, 40, 40, predicted PER Name3 in no box" in text
    assert re.search(r"wrong box\W+3\b", text) and "3 of 4 examples have errors" in text
    path = write_errors(tmp_path / "out", "test", scored.recipe, scored.examples, scored.predictions)
    assert path.read_text(encoding="utf-8").count('"wrong box"') == 3
    # boxes in the data of a run that is not scored by them change nothing
    plain = write_run(tmp_path / "plain", tmp_path / "data", told)
    assert shown(errors_command, plain, "--json") == "" and "wrong box" not in shown(errors_command, plain)
