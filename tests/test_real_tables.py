"""docs/real_data.md: its tables are those of the results in benchmarks/results/real."""

from __future__ import annotations

import importlib.util
import json
import statistics
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from raising import raises

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "real"
PAGE = ROOT / "docs" / "real_data.md"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_tables", ROOT / "benchmarks/real/tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_the_page_has_the_tables_of_the_results(tables: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert tables.written(page) == page, "run benchmarks/real/tables.py"


def test_every_study_that_has_results_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for path in RESULTS.glob("*.json"):
        assert f"<!-- results: {path.stem} -->" in page


def test_summaries_are_those_of_the_runs() -> None:
    """Every finished run is in its summary, and the means are those of the runs."""
    for path in RESULTS.glob("*.json"):
        for arm in read(path)["arms"]:
            own = sorted((path.parent / path.stem).glob(f"{arm['arm']}_seed*.json"))
            runs = [read(file) for file in own]
            if not runs:
                continue  # an arm without runs, or with those of another study
            assert arm["seeds"] == [run["seed"] for run in runs]
            scores = [run["scores"]["test"]["spans.f1"] for run in runs]
            assert arm["test"]["mean"] == pytest.approx(statistics.fmean(scores))
            assert arm["test"]["each"] == scores


def test_a_run_says_what_it_was_made_of() -> None:
    runs = [read(path) for path in RESULTS.glob("*/*.json")]
    assert runs
    for run in runs:
        assert {"train", "dev", "test"} <= run["data"].keys()
        assert all(len(file["sha256"]) == 12 for files in run["data"].values() for file in files)
        assert all(len(encoder["sha256"]) == 12 for encoder in run["encoders"].values())
        assert run["seconds"] > 0 and run["versions"]["torch"] and run["machine"]["cores"]
        counts = [tuple(map(int, row.split())) for row in run["counts"].split(",")]
        correct, predicted, gold = (sum(column) for column in zip(*counts, strict=True))
        assert 2 * correct / (predicted + gold) == pytest.approx(run["scores"]["test"]["spans.f1"])


def test_what_is_missing_is_shown_as_such(tables: ModuleType, tmp_path: Path) -> None:
    study = read(RESULTS / "more_contexts_twitter2017.json")
    study["arms"][1] = {"arm": "contexts", "told": "with its context", "seeds": []}
    (tmp_path / "some.json").write_text(json.dumps(study), encoding="utf-8")
    page = "before\n<!-- results: some -->\n<!-- end -->\n<!-- results: none -->\nold\n<!-- end -->\n"
    made = tables.written(page, tmp_path)
    assert "| `contexts`: with its context | 0 of 3 | – | – | – | – | – | – |" in made
    assert made.endswith("<!-- results: none -->\n\nNo run of this study is finished yet.\n\n<!-- end -->\n")
    assert tables.written(made, tmp_path) == made


def test_the_difference_of_two_arms_is_that_of_the_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "real"))
    script = importlib.import_module("difference")
    base, *others = read(RESULTS / "cp_mner.json")["arms"]
    for arm in others:
        found = arm["difference"]
        told = script.told(f"cp_mner/{base['arm']}", f"cp_mner/{arm['arm']}", RESULTS)
        assert f"{100 * found['difference']:+.2f} F1 ({100 * found['low']:+.2f} to " in told
        assert told.endswith(f"seeds {', '.join(map(str, found['seeds']))}")
    with raises("data", match="no result of 'cp_mner/concta'") as caught:
        script.told("cp_mner/text", "cp_mner/concta", RESULTS)
    assert "'cp_mner/concat'" in caught.value.hint
    with raises("data", match="have other test examples"):
        script.told("cp_mner/text", "more_contexts_twitter2017/text", RESULTS)
