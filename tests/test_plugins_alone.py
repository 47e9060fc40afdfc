"""Each paper's plugin, installed beside the core and nothing else of mmkit, in an environment that shares torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECIPES = {
    "hvpnet": "hvpnet_twitter15",
    "dwe": "dwe_wikimel",
    "dim": "dim_wikimel",
    "more": "more_twitter15_text",
}


def environment_with(plugin: str, folder: Path) -> Path:
    """The programs' folder of a new environment: what mmkit depends on is linked, mmkit and the plugin installed."""
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "mmkit" not in entry.name and entry.name != "__pycache__":
            (site / entry.name).symlink_to(entry)
    pip = [
        folder / "bin/python",
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "install",
        "--no-index",
    ]
    options = ["--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, *options, str(ROOT), str(ROOT / "plugins" / plugin)], check=True)
    return folder / "bin"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="links to packages need privileges there")
@pytest.mark.parametrize("plugin", RECIPES)
def test_a_plugin_works_alone(plugin, tmp_path):
    programs = environment_with(plugin, tmp_path / "environment")
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*command: str) -> str:
        found = subprocess.run(
            [programs / "mmkit", *command],
            cwd=tmp_path,  # away from the checkout, whose packages would be found too
            env={**variables, "MMKIT_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout

    parts = json.loads(run("list-components", "--json"))
    packages = {part["package"].split()[0] for part in parts}
    assert packages == {"mmkit", f"mmkit-{plugin}"}
    named = tomllib.loads((ROOT / "plugins" / plugin / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    own = {name for group in named["entry-points"].values() for name in group} - {plugin}
    assert own <= {part["name"] for part in parts}
    options = ["--sample", "--quiet", "--output", "run", "--training.epochs", "1"]
    run("train", RECIPES[plugin], *options)
    assert json.loads((tmp_path / "run/run.json").read_text(encoding="utf-8"))["status"] == "completed"
    assert run("predict", "run", "--split", "test", "--limit", "2", "--json").count("\n") == 2
