"""Each plugin, installed beside the core and the plugins it depends on, in an environment that shares torch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterable, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
RECIPES: dict[str, str | None] = {
    "hvpnet": "hvpnet_twitter15",
    "dwe": "dwe_wikimel",
    "dim": "dim_wikimel",
    "more": "more_twitter15_text",
    "tesga": "tesga_twitter15",
    "umt": "umt_twitter15",
    "mimic": "mimic_wikimel",
    "pgim": "pgim_twitter17",
    "vlm": "vlm_entities",
    "chat": None,
    "gmner": "gmner_boxes",
    "retrieval": None,
    "formats": None,
    "report": None,
    "serve": None,
    "search": None,
    "trackers": None,
    "hub": None,
    "ray": None,
}
"""Plugin → a recipe of its own, if it has any."""


def project(folder: Path) -> dict[str, Any]:
    """The table `project` of a package."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: Iterable[str]) -> set[str]:
    """The packages that are asked for."""
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


def with_needed(plugin: str) -> list[Path]:
    """The plugin's folder, and those of the plugins that it depends on."""
    folder = ROOT / "plugins" / plugin
    needed = sorted(names(project(folder)["dependencies"]))
    words = [name.removeprefix("mmkit-") for name in needed if name.startswith("mmkit-")]
    return [folder, *(f for word in words if (ROOT / "plugins" / word).is_dir() for f in with_needed(word))]


def has_parts(folder: Path) -> bool:
    """Whether a plugin has parts, and not only hooks."""
    return bool(project(folder).get("entry-points", {}).keys() - {"mmkit"})


def optional(plugins: Sequence[Path]) -> set[str]:
    """Files and folders in site-packages of what only the plugins' extras ask for."""
    extras = [extra for p in plugins for extra in project(p).get("optional-dependencies", {}).values()]
    needed = names(requirement for p in (ROOT, *plugins) for requirement in project(p)["dependencies"])
    only = names(requirement for extra in extras for requirement in extra) - needed
    found = (package for name in only for package in distributions(name=name))
    return {file.parts[0] for package in found for file in package.files or ()}


def environment_with(plugin: str, folder: Path) -> Path:
    """The programs' folder of a new environment: what mmkit depends on is linked, mmkit and the plugin installed.

    The plugins that it depends on are installed, too; what only extras ask for is left out.
    """
    plugins = with_needed(plugin)
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    left_out = {"__pycache__", *optional(plugins)}
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "mmkit" not in entry.name and entry.name not in left_out:
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
    subprocess.run([*pip, *options, *map(str, (ROOT, *plugins))], check=True)
    return folder / "bin"


@pytest.mark.matrix  # builds an environment for each plugin
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="links to packages need privileges there")
@pytest.mark.parametrize("plugin", RECIPES)
def test_a_plugin_works_alone(plugin, tmp_path):
    programs = environment_with(plugin, tmp_path / "environment")
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*command: str, code: int = 0) -> str:
        found = subprocess.run(
            [programs / "mmkit", *command],
            cwd=tmp_path,  # away from the checkout, whose packages would be found too
            env={**variables, "MMKIT_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == code, found.stderr
        return found.stdout

    parts = json.loads(run("list-components", "--check", "--json"))  # none needs what was left out
    packages = {part["package"].split()[0] for part in parts}
    assert packages == {
        "mmkit-core",
        *(f"mmkit-{folder.name}" for folder in with_needed(plugin) if has_parts(folder)),
    }
    entry_points = project(ROOT / "plugins" / plugin).get("entry-points", {})
    own = {name for group in entry_points.values() for name in group} - {plugin}
    assert own <= {part["name"] for part in parts}
    recipe = RECIPES[plugin]
    if plugin == "chat":  # it has no parts: other plugins have a model of it
        code = "import mmkit_chat.local_model, mmkit_chat.server as s; print(s.ChatServer.__name__)"
        command = [programs / "python", "-c", code]
        asked = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        assert asked.stdout == "ChatServer\n"
        return
    if plugin == "formats":
        row = {"text": "Jordan is here", "label": [[0, 6, "PER"]]}
        (tmp_path / "own.jsonl").write_text(json.dumps(row), encoding="utf-8")
        run("convert", "own.jsonl", "out.jsonl", "--reader", "doccano")
        assert "PER" in (tmp_path / "out.jsonl").read_text(encoding="utf-8")
        return
    if plugin == "report":
        options = ["--sample", "--quiet", "--output", "run", "--training.epochs", "1"]
        run("train", "text_only_mnre", *options, "--training.eval_from", "1")
        run("evaluate", "run", "--quiet", "--device", "cpu")
        wrong = (tmp_path / "run/errors/test.jsonl").read_text(encoding="utf-8").count("\n") - 1
        assert re.search(rf"\b{wrong} of \d+ examples have errors", run("errors", "run"))
        return
    if plugin == "trackers":
        tracked = ["text_only_mnre", "--sample", "--training.trackers", '["tensorboard"]']
        said = run("check", *tracked, code=1)
        assert "pip install './plugins/trackers[tensorboard]'" in " ".join(said.split())
        return
    if plugin == "search":
        options = [
            "--sample",
            "--device",
            "cpu",
            "--output",
            "found",
            "--trials",
            "1",
            "--training.epochs",
            "1",
        ]
        run(
            "search",
            "text_only_mnre",
            *options,
            "--training.eval_from",
            "1",
            "--training.batch_size",
            "8 | 16",
        )
        assert (tmp_path / "found/best.cfg").exists()
        return
    if plugin == "serve":
        options = ["--sample", "--quiet", "--output", "run", "--training.epochs", "1"]
        run("train", "text_only_mnre", *options, "--training.eval_from", "1")
        command = [programs / "mmkit", "serve", "run", "--port", "0", "--device", "cpu"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            started = server.stdout.readline()
            server.terminate()
        assert started.startswith("serving run on http://127.0.0.1:") and server.returncode == 0
        return
    if plugin == "hub":
        options = ["--sample", "--quiet", "--output", "run", "--training.epochs", "1"]
        run("train", "text_only_mnre", *options, "--training.eval_from", "1")
        run("package", "run", "packaged")
        asked = ["--text", "Jordan is in Chicago", "--head", "Jordan", "--tail", "Chicago", "--json"]
        assert run("predict", "packaged", *asked) == run("predict", "run", *asked) != ""
        card = (tmp_path / "packaged/README.md").read_text(encoding="utf-8")
        assert "library_name: mmkit" in card and str(tmp_path) not in card
        return
    if plugin == "ray":  # that it works is tested on a cluster
        assert all("--ray" in run(command, "--help") for command in ("predict", "annotate"))
        return
    if recipe is None:
        (tmp_path / "corpus.jsonl").write_text('{"id": "1", "title": "Jordan", "text": "A river ."}')
        run("retrieval", "build-index", "corpus.jsonl", "index", "--no-images", "--quiet")
        found = run("retrieval", "search", "index", "--text", "river", "--json")
        assert json.loads(found)["title"] == "Jordan"
        return
    options = ["--sample", "--quiet", "--output", "run", "--training.epochs", "1"]
    run("train", recipe, *options, "--training.eval_from", "1")
    assert json.loads((tmp_path / "run/run.json").read_text(encoding="utf-8"))["status"] == "completed"
    assert run("predict", "run", "--split", "test", "--limit", "2", "--json").count("\n") == 2
