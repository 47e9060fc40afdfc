"""Pages of the documentation site that are made when it is built: start, parts and reference."""

from __future__ import annotations

import re
from pathlib import Path

import mkdocs_gen_files

from mmkit.registry import ALL, components

ROOT = Path(__file__).resolve().parents[2]

ROOMS = {
    "data": "Records, readers and files",
    "annotators": "Annotators",
    "encoders": "Encoders",
    "fusers": "Fusers",
    "decoders": "Decoders",
    "metrics": "Metrics",
    "tasks": "Tasks",
    "scorers": "Scorers of entities",
    "ops": "What several stations need",
    "pretrained": "Pretrained networks",
    "entities": "The entity side of a model",
    "config": "Recipes' text and settings",
    "loading": "From a recipe to records",
    "checking": "Checks",
    "runs": "Run folders",
    "inference": "Prediction and evaluation",
    "training": "Training",
    "testing": "Tests of a plugin's parts",
    "files": "Files on disk",
    "access": "Network and servers",
    "terminal": "What the terminal shows",
}
"""Folder of the package → title of its page."""

INTERNAL = {"cli", "scaffold", "start"}
"""Folders that nobody imports from."""


def start() -> None:
    """The front page is the README, its links those of the site."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", text).replace("](SECURITY.md)", "](security.md)")
    text = re.sub(r"\[([^\]]*)\]\((?!https?:|#|[\w/]+\.md)[^)]*\)", r"\1", text)  # links into the repository
    text = re.sub(r"\[([^\]]*)\]\((plugins|recipes|CONTRIBUTING|CHANGELOG)[^)]*\)", r"\1", text)
    write("index.md", text)


def security() -> None:
    """What is promised of somebody else's files."""
    write("security.md", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))


def parts() -> None:
    """The installed parts, from the registries."""
    lines = [
        "# Parts",
        "",
        "What a recipe can name, by station. `mmkit describe NAME` shows a part's settings.",
        "",
    ]
    for registry in ALL:
        lines += [f"## {registry.capitalize()}", "", "| name | package | what it does |", "|---|---|---|"]
        for part in components(registry):
            about = part.description.replace("|", "\\|").replace("<", "&lt;")
            lines.append(f"| `{part.name}` | {part.package} | {about} |")
        lines.append("")
    write("reference/parts.md", "\n".join(lines))


def reference() -> None:
    """A page for each folder of the package, and one for the modules beside them."""
    package = ROOT / "mmkit"
    folders = {path.parent.name for path in package.glob("*/__init__.py")} - INTERNAL
    if folders != set(ROOMS):
        raise SystemExit(
            f"docs/site/pages.py: ROOMS and the folders differ in {sorted(folders ^ set(ROOMS))}"
        )
    for room, title in ROOMS.items():
        write(
            f"reference/{room}.md", page(title, [f"mmkit.{room}.{name}" for name in modules(package / room)])
        )
    write("reference/top.md", page("Top of the package", [f"mmkit.{name}" for name in modules(package)]))


def modules(folder: Path) -> list[str]:
    """The public modules that lie in a folder."""
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def page(title: str, modules: list[str]) -> str:
    """A page that documents modules from their docstrings."""
    return f"# {title}\n\n" + "\n".join(f"::: {module}\n" for module in modules)


def write(path: str, text: str) -> None:
    """One page of the site."""
    with mkdocs_gen_files.open(path, "w") as file:
        file.write(text)


start()
parts()
reference()
