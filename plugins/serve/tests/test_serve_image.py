"""What the Dockerfile installs. The image itself is not built here."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "plugins/serve/image_packages.py"


def folders(*names: str, code: int = 0) -> list[str]:
    """What the script says: folders relative to the repository, or its message."""
    done = subprocess.run([sys.executable, SCRIPT, *names], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return [
        Path(line).relative_to(ROOT).as_posix() for line in done.stdout.splitlines()
    ] or done.stderr.splitlines()


def project(folder: str) -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))
    return found["project"]  # type: ignore[return-value]


def test_plugins_are_installed_after_those_that_they_need():
    assert folders() == [".", "plugins/serve"]
    assert folders("more", "more") == [".", "plugins/serve", "plugins/retrieval", "plugins/more"]


def test_all_that_packages_of_this_repository_need_of_each_other_is_installed():
    """An index might have another package of the same name."""
    chosen = folders(*_default())
    names = {str(project(folder)["name"]) for folder in chosen}
    wanted = {
        match[0]
        for folder in chosen
        for requirement in project(folder).get("dependencies", ())  # type: ignore[attr-defined]
        if (match := re.match(r"mmkit-[a-z0-9-]+", requirement))
    }
    assert wanted <= names


def test_every_plugin_with_parts_for_predictions_is_in_the_image():
    """All but readers and writers of files, which no server needs."""
    with_parts = {
        file.parent.name
        for file in ROOT.glob("plugins/*/pyproject.toml")
        if project(f"plugins/{file.parent.name}").get("entry-points", {}).keys() - {"mmkit"}  # type: ignore[attr-defined]
    }
    assert with_parts - {"formats"} <= {Path(folder).name for folder in folders(*_default())}


def test_a_misspelt_plugin_is_one_message():
    assert folders("hvpnt", code=1) == ["PLUGINS: there is no plugin 'hvpnt'", "  → hvpnet"]


def _default() -> list[str]:
    text = (ROOT / "plugins/serve/Dockerfile").read_text(encoding="utf-8")
    found = re.search(r'^ARG PLUGINS="(.*)"$', text, re.MULTILINE)
    assert found is not None
    return found[1].split()
