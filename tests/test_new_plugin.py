"""`mmkit new-plugin` writes a package that installs, passes its own tests and trains its recipe."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmkit.cli import main
from mmkit.scaffold.plugin import PARTS, plugin_files


def installed(plugin: Path, target: Path) -> dict[str, str]:
    """Install a package into a folder; the environment in which Python finds it there."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(plugin)], check=True)
    return {**os.environ, "PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.matrix
def test_a_package_with_all_parts_passes_its_own_tests(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["new-plugin", "my-gate", "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    plugin = tmp_path / "mmkit-my-gate"
    environment = installed(plugin, tmp_path / "site")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(plugin / "tests")]
    done = subprocess.run(command, env=environment, cwd=plugin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "18 passed" in done.stdout
    listed = [sys.executable, "-m", "mmkit", "list-components"]
    names = subprocess.run(listed, env=environment, capture_output=True, text=True, check=True).stdout
    assert all(
        f"my_gate.{part}.v1" in names for part in ("captions", "brightness", "colours", "gate", "tagger")
    )


@pytest.mark.parametrize("parts", [[part] for part in PARTS] + [["encoder", "metric"], ["reader", "fuser"]])
def test_any_choice_of_parts_makes_a_package(parts: list[str]) -> None:
    made = plugin_files("some-thing", parts)
    package = tomllib.loads(made["pyproject.toml"])
    entries = {name for group in package["project"]["entry-points"].values() for name in group}
    assert len(entries) == len([part for part in parts if part != "hook"]) + 1
    for path, text in made.items():
        assert "$" not in text.replace("${paths.data}", ""), path
        if path.endswith(".py"):
            compile(text, path, "exec")
    assert {path.split("/")[-1] for path in made if path.startswith("mmkit_some_thing/")} >= {
        f"{part}.py" for part in parts if part != "hook"
    }


def test_generated_code_is_formatted(tmp_path: Path) -> None:
    CliRunner().invoke(main, ["new-plugin", "tidy", "--folder", str(tmp_path)], catch_exceptions=False)
    ruff = [sys.executable, "-m", "ruff"]
    for arguments in (["format", "--check"], ["check", "--select", "E,F,W,B,UP"]):
        command = [*ruff, *arguments, "--isolated", "--line-length", "120", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Bad!"], "cannot be a package's name"),
        (["good", "--parts", "fusr"], "did you mean 'fuser'"),
    ],
)
def test_mistakes_are_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["new-plugin", *arguments, "--folder", str(tmp_path)])
    assert result.exit_code == 2 and said in result.output
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mmkit-mine").mkdir()
    result = CliRunner().invoke(main, ["new-plugin", "mine", "--folder", str(tmp_path)])
    assert result.exit_code == 2 and "there is already something here" in result.output
