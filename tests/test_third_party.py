"""Packages of third parties: the one of docs/plugins.md, installed by pip, beside broken and clashing ones."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILE = re.compile(r'^```\w+ title="(?P<name>.+?)"\n(?P<text>.*?)^```$', flags=re.MULTILINE | re.DOTALL)

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.3"

{entries}

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""

METRIC = '''
from mmkit.metrics.base import Metric

class Ones(Metric):
    """Always one."""

    def reset(self): ...
    def update(self, examples, predictions): ...
    def compute(self): return {"one": 1.0}
'''

BROKEN = """
[project.entry-points.mmkit_metrics]
"broken.fine.v1" = "mmkit_broken.fine:Ones"
"broken.import.v1" = "mmkit_broken.part:Ones"
"broken.module.v1" = "mmkit_broken.nowhere:Ones"

[project.entry-points.mmkit]
broken_hooks = "mmkit_broken.hooks"
"""

TWIN = """
[project.entry-points.mmkit_metrics]
"gate.whole_sentences.v1" = "mmkit_twin:Ones"
"""


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Mapping[str, str]], Path]:
    """Install a package with pip into a folder of its own; returns the folder."""

    def install(name: str, files: Mapping[str, str]) -> Path:
        source, target = tmp_path_factory.mktemp(name), tmp_path_factory.mktemp(f"{name}-site")
        for file, text in files.items():
            path = source / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index"]
        subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", target, source], check=True)
        return target

    return install


def package(name: str, entries: str, files: Mapping[str, str]) -> dict[str, str]:
    module = name.replace("-", "_")
    project = PYPROJECT.format(name=name, module=module, entries=entries)
    return {"pyproject.toml": project, **{f"{module}/{file}": text for file, text in files.items()}}


@pytest.fixture(scope="session")
def documented() -> dict[str, str]:
    """The files of the package in docs/plugins.md."""
    return {
        m["name"]: m["text"] for m in FILE.finditer((ROOT / "docs/plugins.md").read_text(encoding="utf-8"))
    }


@pytest.fixture(scope="session")
def gate(installed: Callable[..., Path], documented: dict[str, str]) -> Path:
    return installed("mmkit-gate", documented)


@pytest.fixture(scope="session")
def broken(installed: Callable[..., Path]) -> Path:
    files = {
        "__init__.py": "",
        "fine.py": METRIC,
        "part.py": "import mmkit_no_such_module\n" + METRIC,
        "hooks.py": "raise ImportError('the [tracker] is not installed')",
    }
    return installed("mmkit-broken", package("mmkit-broken", BROKEN, files))


@pytest.fixture(scope="session")
def twin(installed: Callable[..., Path]) -> Path:
    return installed("mmkit-twin", package("mmkit-twin", TWIN, {"__init__.py": METRIC}))


def python(*arguments: str, path: list[Path], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment, cwd=cwd
    )


def listed(
    *arguments: str, path: list[Path]
) -> tuple[dict[str, dict[str, str]], subprocess.CompletedProcess[str]]:
    done = python("-m", "mmkit", "list-components", "--json", *arguments, path=path)
    return {c["name"]: c for c in json.loads(done.stdout)}, done


def test_a_third_partys_parts_are_listed(gate: Path) -> None:
    parts, done = listed(path=[gate])
    assert not done.stderr
    fuser = parts["gate.gated_image.v1"]
    assert (fuser["registry"], fuser["package"], fuser["version"]) == ("fusers", "mmkit-gate", "0.1.0")
    assert fuser["description"].startswith("Adds a photo's pooled features to each token")
    assert parts["gate.whole_sentences.v1"]["registry"] == "metrics"
    assert parts["gate.captions.v1"]["registry"] == "readers"
    assert not any(c["problem"] for c in parts.values() if c["package"] == "mmkit-gate")


def test_a_third_partys_part_is_described(gate: Path) -> None:
    about = json.loads(python("-m", "mmkit", "describe", "--json", "gate.gated_image.v1", path=[gate]).stdout)
    assert [p["name"] for p in about["parameters"]] == ["text", "vision", "dropout"]
    assert about["file"] == str(gate / "mmkit_gate" / "fuser.py")


def own_tests(documented: dict[str, str], folder: Path, chosen: str, path: list[Path]) -> str:
    """Run the tests of the documented package, those that `-k` chooses; returns what pytest said."""
    for name in ("test_gate.py", "test_contracts.py"):
        (folder / name).write_text(documented[f"tests/{name}"], encoding="utf-8")
    pytest_ = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "-k", chosen]
    done = python(*pytest_, path=path, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.matrix
def test_the_documented_package_passes_its_own_tests(
    gate: Path, documented: dict[str, str], tmp_path: Path
) -> None:
    """Its parts are used from its recipe, found by name through its hook."""
    said = own_tests(documented, tmp_path, "not matter", [gate])
    assert "5 passed, 1 deselected" in said


@pytest.mark.matrix
def test_the_documented_package_s_images_matter(
    gate: Path, documented: dict[str, str], tmp_path: Path
) -> None:
    assert "1 passed" in own_tests(documented, tmp_path, "matter", [gate])


def test_a_broken_package_is_named_while_everything_else_works(gate: Path, broken: Path) -> None:
    parts, done = listed(path=[gate, broken])
    assert done.returncode == 0
    warnings = done.stderr.splitlines()
    assert len(warnings) == 1
    for said in ("broken_hooks", "mmkit-broken", "the [tracker] is not installed"):
        assert said in warnings[0]
    assert "there is no module 'mmkit_broken.nowhere'" in parts["broken.module.v1"]["problem"]
    assert not parts["broken.import.v1"]["problem"]  # only an import can tell
    assert not parts["gate.gated_image.v1"]["problem"]
    used = python(
        "-c", "from mmkit.recipe import load_recipe; print(load_recipe('gate_captions').build('metrics.sentences'))",
        path=[gate, broken],
    )  # fmt: skip
    assert "WholeSentences" in used.stdout, used.stderr


def test_checking_names_what_cannot_be_imported(broken: Path) -> None:
    parts, done = listed("--check", "--registry", "metrics", path=[broken])
    assert done.returncode == 2
    assert "No module named 'mmkit_no_such_module'" in parts["broken.import.v1"]["problem"]
    assert parts["broken.module.v1"]["problem"]
    assert not parts["broken.fine.v1"]["problem"]
    assert not parts["mmkit.span_f1.v1"]["problem"]
    assert "2 of" in done.stderr
    assert "broken.import.v1 (mmkit-broken)" in done.stderr


def test_a_recipe_with_a_broken_part_names_it(broken: Path, tmp_path: Path) -> None:
    (tmp_path / "x.cfg").write_text('[recipe]\nformat = 1\n[metrics.x]\n@metrics = "broken.import.v1"\n')
    done = python("-m", "mmkit", "train", "x.cfg", path=[broken], cwd=tmp_path)
    assert done.returncode == 2
    assert (
        "metrics.x.@metrics (line 4): broken.import.v1 cannot be loaded from package mmkit-broken 0.3"
        in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_part_that_two_packages_bring_is_nobodys(gate: Path, twin: Path) -> None:
    done = python("-m", "mmkit", "list-components", "--json", path=[gate, twin])
    twins = [c for c in json.loads(done.stdout) if c["name"] == "gate.whole_sentences.v1"]
    assert sorted(c["package"] for c in twins) == ["mmkit-gate", "mmkit-twin"]
    assert all("provided by mmkit-gate and mmkit-twin" in c["problem"] for c in twins)
    described = python("-m", "mmkit", "describe", "gate.whole_sentences.v1", path=[gate, twin])
    assert described.returncode == 2
    assert "provided by mmkit-gate and mmkit-twin" in described.stderr
    assert python("-m", "mmkit", "describe", "gate.gated_image.v1", path=[gate, twin]).returncode == 0


def train(output: Path, *overrides: str, path: list[Path]) -> list[list[str]]:
    """Train the documented recipe on its sample; returns the rows its hook wrote: split, epoch, figure, value."""
    arguments = ["train", "gate_captions", "--sample", "--quiet", "--device", "cpu", "--output", str(output)]
    done = python("-m", "mmkit", *arguments, *overrides, path=path, cwd=output.parent)
    assert done.returncode == 0, done.stderr
    with (output / "scores.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.matrix
def test_third_party_trains(gate: Path, broken: Path, tmp_path: Path) -> None:
    """A third party's reader, fuser, metric and hook, beside a broken package."""
    rows = train(tmp_path / "run", path=[gate, broken])
    scores = {name: float(value) for split, _, name, value in rows if split == "test"}
    assert scores["spans.f1"] > 0.95
    assert scores["sentences.accuracy"] > 0.9
    assert {name for split, _, name, _ in rows if split == "dev"} == set(scores)
