"""`benchmarks/gpu.py`: with tiny shapes on a CPU it runs to the end, resumes, and records what fails."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from golden import GOLDEN

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks" / "gpu.py"

OWN = """
import os, signal
from gpu_sections import Section
from gpu_sections.context import Skip

def right(context):
    context.row(what="something", value=float("nan"))
    context.check("a difference", 0.5, 1.0)

def inexact(context):
    context.check("close", 0.0, 0.0)
    context.check("far", 2.0, 1.0)
    context.check("no number", float("nan"), 1.0)

def broken(context):
    context.row(what="before it broke")
    if not os.path.exists(os.environ["REPAIRED"]):
        raise ValueError("it broke")

def gone(context):
    context.row(what="before it went")
    os.kill(os.getpid(), signal.SIGKILL)

def impossible(context):
    raise Skip("not on this machine")

def endless(context):
    context.row(what="before it hung")
    signal.pause()

SECTIONS = [
    Section(name, f"{__file__}:{name}", 1, name) for name in ("right", "inexact", "broken", "gone", "impossible")
]
SECTIONS.append(Section("lacking", f"{__file__}:right", 1, "lacking", ("no_such_package",)))
"""
NAMES = ("right", "inexact", "broken", "gone", "impossible", "lacking")


def read(folder: Path) -> dict[str, Any]:
    """The file of results in a folder."""
    (file,) = folder.glob("gpu_*.json")
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """All sections with tiny shapes on one thread, and what the command said."""
    folder = tmp_path_factory.mktemp("results")
    return folder, run_tiny(folder)


def run_tiny(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", "--budget", "900"]
    return subprocess.run(
        [*command, "--results", str(folder), "--golden", str(GOLDEN), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.matrix
def test_with_tiny_shapes_every_section_runs_to_the_end_on_a_cpu(tiny):
    folder, done = tiny
    results = read(folder)
    sections = results["sections"]
    assert done.returncode == 0, {name: s["error"] for name, s in sections.items() if "error" in s}
    golden = {name for name in sections if name.startswith("golden_")}
    expected = "ok" if any(GOLDEN.glob("*.safetensors")) else "skipped"
    assert {sections[name]["status"] for name in golden} == {expected}
    assert {sections[name]["status"] for name in sections.keys() - golden} == {"ok"}
    assert len(golden) == 4

    assert results["tiny"] and results["machine"]["versions"]["torch"] and results["machine"]["gpu"] is None
    for name, section in sections.items():
        assert section["seconds"] > 0 and section["peak memory, GiB"] > 0.1, name
        assert section["commit"] == results["machine"]["commit"]
        assert section["rows"] or section["status"] == "skipped", name
        assert all(0 <= check["error"] <= check["tolerance"] for check in section["checks"]), name


@pytest.mark.slow
@pytest.mark.matrix
def test_the_sections_measure_what_they_say(tiny):
    sections = read(tiny[0])["sections"]
    if sections["golden_linking"]["status"] == "ok":
        checked = {check["what"] for name in sections for check in sections[name]["checks"]}
        for what in (
            "hvpnet_ner_0, fp32: emissions",
            "tesga_joint_0, fp32: loss",
            "dwe_0, fp32: query",
        ):
            assert what in checked
        assert {
            check["tolerance"] for check in sections["golden_tesga"]["checks"] if "table" in check["what"]
        } == {
            1e-4,
            0.025,
        }
        bf16 = [
            r["error"] for r in sections["golden_hvpnet"]["rows"] if r["precision"] == "bf16" and "error" in r
        ]
        assert max(bf16) > 1e-3, "bf16 was not used"
    for paper in ("hvpnet", "more", "tesga", "dwe", "dim"):
        whole, interrupted, resumed = sections[f"train_{paper}"]["rows"]
        assert 0 < interrupted["updates"] < whole["updates"] == resumed["updates"]
        assert resumed["test"] == whole["test"]
    placed = [check["what"] for check in sections["placed"]["checks"]]
    for feature in (
        "hvpnet_twitter15: vision.grid",
        "tesga_twitter15: visual.tokens",
        "dwe_wikimel: parts.pooled",
    ):
        assert f"{feature}, device beside disk" in placed
    update, *sides = sections["hvpnet_training"]["rows"]
    assert update["subwords"][0] == 8 and update["subwords"][1] <= 32
    assert [(row["side"], row["tweets/s"] > 0) for row in sides] == [("stored", True), ("recomputed", True)]
    seconds = sections["hvpnet_training"]["facts"]["15,000 updates (30 epochs), s, fp32"]
    assert seconds == pytest.approx(15 * update["ms"])
    assert sections["dwe_training"]["facts"]["ratio"] > 0
    assert [row["side"] for row in sections["dwe_training"]["rows"]] == ["mmkit", "per example"]
    update, *sides = sections["more_training"]["rows"]
    assert update["subwords"][0] == 4 and len(sides) == 3
    assert {row["what"] for row in sections["crf"]["rows"]} == {"decode", "likelihood, gradient"}
    assert sections["entity_search"]["facts"]["features_gb"] == 40_000 * 64 * 2 / 1e9
    assert [row["queries"] for row in sections["search_10m"]["rows"]] == [1, 1, 16, 16, 256, 256]
    assert {row["network"][:4] for row in sections["encoding"]["rows"]} == {"ResN", "CLIP", "BLIP"}
    for name, rate in (("search_10m", "TB/s"), ("encoding", "TFLOP/s"), ("tesga_update", "TFLOP/s")):
        for row in sections[name]["rows"]:
            assert row[rate] > 0 and row["ms, least"] <= row["ms"] <= row["ms, most"], name


@pytest.mark.slow
@pytest.mark.matrix
def test_what_is_timed_was_checked_before(tiny):
    sections = read(tiny[0])["sections"]
    for name, what in (
        ("hvpnet_training", "HVPNeT: loss of a batch beside its examples', relative"),
        ("more_training", "MoRe: loss of a batch beside its examples', relative"),
        ("tesga_update", "TESGA: loss of a batch beside its examples', relative"),
        ("dwe_training", "DWE: queries of a batch beside each alone"),
        ("search_10m", "ranks that are not float64's"),
        ("encoding", "BLIP, photo and text: a batch beside each alone"),
    ):
        assert what in {check["what"] for check in sections[name]["checks"]}, name


@pytest.mark.slow
@pytest.mark.matrix
def test_a_second_run_keeps_what_is_done(tiny):
    folder, _ = tiny
    before = read(folder)["sections"]
    kept = {name: section for name, section in before.items() if section["status"] == "ok"}
    again = run_tiny(folder, "--resume", "--only", *kept)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done before") == len(kept) >= 13
    assert read(folder)["sections"] == before


def test_shares_are_of_what_the_device_can_do(gpu):
    from gpu_sections.peak import Best

    best = Best(flops=800e12, moved=4e12, sheet=(989e12, 4.8e12))
    assert best.seconds(0.13e12, 3e9) == pytest.approx(0.0009125)
    shares = best.shares(0.001, 0.4e12, 2e9)
    assert shares == pytest.approx(
        {
            "TFLOP/s": 400,
            "% of the best bf16 product": 50,
            "% of the data sheet's TFLOP/s": 40.44,
            "TB/s": 2,
            "% of the best copy": 50,
            "% of the data sheet's TB/s": 41.67,
        },
        rel=1e-3,
    )
    assert Best(800e12, 4e12).shares(0.001, flops=0.4e12) == pytest.approx(
        {"TFLOP/s": 400, "% of the best bf16 product": 50}
    )


@pytest.fixture
def gpu(tmp_path, monkeypatch) -> ModuleType:
    """The script as a module, with an environment of its own."""
    for name in ("MMKIT_CACHE", "PYTORCH_NVML_BASED_CUDA_CHECK", "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("REPAIRED", str(tmp_path / "repaired"))
    monkeypatch.syspath_prepend(SCRIPT.parent)
    specification = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    assert specification and specification.loader
    made = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(made)
    return made


@pytest.fixture
def own(tmp_path) -> list[str]:
    """Options that add sections of a file, and run them alone."""
    file = tmp_path / "own.py"
    file.write_text(OWN, encoding="utf-8")
    options = ["--device", "cpu", "--tiny", "--results", str(tmp_path / "results"), "--sections", str(file)]
    return [*options, "--only", *NAMES]


def test_what_fails_is_recorded_and_the_rest_goes_on(gpu, own, tmp_path, capfd):
    assert gpu.main(own) == 1
    sections = read(tmp_path / "results")["sections"]
    statuses = {name: sections[name]["status"] for name in sections}
    assert statuses == dict(
        zip(NAMES, ["ok", "failed", "failed", "failed", "skipped", "skipped"], strict=True)
    )
    assert sections["right"]["rows"] == [{"what": "something", "value": "nan"}]
    assert sections["inexact"]["error"] == "far: 2 > 1; no number: nan > 1"
    assert [check["ok"] for check in sections["inexact"]["checks"]] == [True, False, False]
    assert sections["broken"]["error"] == "ValueError: it broke"
    assert 'raise ValueError("it broke")' in sections["broken"]["traceback"]
    assert sections["broken"]["rows"] == [{"what": "before it broke"}]
    assert "exit code -9" in sections["gone"]["error"]
    assert sections["gone"]["rows"] == [{"what": "before it went"}]
    assert sections["impossible"]["note"] == "not on this machine"
    assert sections["lacking"]["note"] == "no_such_package is not installed"
    assert "2 skipped" in capfd.readouterr().out

    (tmp_path / "repaired").touch()  # what was repaired runs again, what was right does not
    assert gpu.main([*own, "--resume"]) == 1
    later = read(tmp_path / "results")["sections"]
    assert later["right"] == sections["right"]
    assert later["broken"]["status"] == "ok" and "error" not in later["broken"]
    assert later["gone"]["status"] == "failed"
    assert gpu.main([*own, "--again", "--only", "right"]) == 0


def test_processes_may_be_spawned(gpu, own, tmp_path):
    assert gpu.main([*own, "--start", "spawn", "--only", "right", "broken"]) == 1
    sections = read(tmp_path / "results")["sections"]
    assert {name: section["status"] for name, section in sections.items()} == {
        "right": "ok",
        "broken": "failed",
    }


def test_sections_for_which_no_time_is_left_are_named(gpu, own, tmp_path):
    assert gpu.main([*own, "--budget", "0", "--only", "right"]) == 1
    assert read(tmp_path / "results")["sections"]["right"]["status"] == "out of time"


def test_a_section_that_hangs_is_ended_and_keeps_its_rows(gpu, own, tmp_path):
    from gpu_sections import Section
    from gpu_sections.context import Context
    from gpu_sections.process import run_section

    context = Context("cpu", True, tmp_path, tmp_path, tmp_path / "found.json")
    found = run_section(Section("endless", f"{tmp_path / 'own.py'}:endless", 1, ""), context, 2.0, "fork")
    assert found["status"] == "out of time"
    assert found["rows"] == [{"what": "before it hung"}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "train_dwf"], "no section is called 'train_dwf'; did you mean 'train_dwe'"),
        (["--sections", "nothing.py"], "--sections nothing.py: "),
        (["--device", "nonsense", "--only", "crf"], "--device nonsense cannot be used: "),
    ],
)
def test_a_command_that_cannot_be_used_says_why(gpu, tmp_path, capfd, options, message):
    assert gpu.main(["--results", str(tmp_path), *options]) == 2
    assert message in capfd.readouterr().err


def test_results_are_never_replaced_unasked(gpu, own, tmp_path, capfd):
    own = [*own, "--only", "right"]
    assert gpu.main(own) == 0
    before = read(tmp_path / "results")
    assert gpu.main(own) == 2
    assert "--resume goes on with them" in capfd.readouterr().err
    own.remove("--tiny")
    assert gpu.main([*own, "--name", "cpu_tiny", "--resume"]) == 2
    assert "tiny True there and False now" in capfd.readouterr().err
    assert read(tmp_path / "results") == before


def test_the_sections_are_listed(gpu, capfd):
    assert gpu.main(["--list", "--skip", "golden*", "train*"]) == 0
    listed = [line.split()[0] for line in capfd.readouterr().out.splitlines()]
    assert listed[:2] == ["limits", "placed"] and "dwe_training" in listed and "train_dwe" not in listed
    assert sum(section.seconds for section in gpu.SECTIONS) <= gpu.BUDGET
