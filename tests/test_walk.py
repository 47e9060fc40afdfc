"""The walk through one training in docs/architecture.md: its files and names exist, and a training calls them."""

from __future__ import annotations

import ast
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType

import pytest
from click.testing import CliRunner

from mmkit import registry
from mmkit.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WALK = PAGE.partition("## A walk through one training\n")[2].partition("\n## ")[0]
SPANS = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", WALK, flags=re.DOTALL))
NAMES = [tuple(span.split(":")) for span in SPANS if re.fullmatch(r"[\w/]+\.py:[\w.]+", span)]
"""(file, dotted name) of all that the walk names so."""

RUN_FILES = {span for span in SPANS if re.fullmatch(r"\w+\.(cfg|json|safetensors)|\w+/", span)}
NOT_CALLED = {"report", "annotate", "of_reader"}
"""What the walk names for other cases: an error, and a recipe with annotators or with crops."""


def definitions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Dotted names of the classes, functions and constants that a module defines."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield within + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node, f"{within}{node.name}.")
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node) for target in node.targets if isinstance(target, ast.Name))


def defined(file: str) -> dict[str, ast.AST]:
    return dict(definitions(ast.parse((ROOT / file).read_text(encoding="utf-8"))))


def test_it_leads_from_the_command_to_the_weights():
    assert len(NAMES) > 40
    assert NAMES[0] == ("mmkit/cli/__init__.py", "main")
    assert WALK.index("mmkit train recipes/hvpnet_twitter15.cfg") < WALK.index("**`model.safetensors`**")


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMES)), ids=":".join)
def test_names_exist(file, name):
    assert name in defined(file), f"{file} defines no {name}"


def test_files_parts_and_classes_exist():
    """Whatever else the walk sets in code type: paths of the repository, parts, and classes named before."""
    recipe = (ROOT / "recipes" / "hvpnet_twitter15.cfg").read_text(encoding="utf-8")
    known = {part for _, name in NAMES for part in name.split(".")}
    for span in set(SPANS) - {":".join(pair) for pair in NAMES}:
        if re.fullmatch(r"[A-Z]\w+", span):
            assert span in known, f"the walk uses the class {span} and does not say where it is"
        elif re.fullmatch(r"\w+(\.\w+)+\.v\d+", span):
            assert span in recipe and registry.find(span)
        elif "/" in span and span not in RUN_FILES and "$" not in span and not span.startswith("runs/"):
            assert (ROOT / span).exists(), span


@pytest.mark.slow
def test_a_training_calls_all_of_it(tmp_path, monkeypatch):
    called: set[tuple[str, str]] = set()
    seen: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code not in seen:
            seen.add(code)
            called.add((code.co_filename, code.co_qualname))

    arguments = [
        "train",
        str(ROOT / "recipes" / "hvpnet_twitter15.cfg"),
        "--sample",
        "--quiet",
        "--device",
        "cpu",
    ]
    arguments += ["--training.epochs", "1", "--output", str(tmp_path / "run")]
    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        done = CliRunner().invoke(main, arguments)
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    assert done.exit_code == 0, done.output
    functions = {
        (file, name)
        for file, name in NAMES
        if isinstance(defined(file)[name], ast.FunctionDef) and name.rpartition(".")[2] not in NOT_CALLED
    }
    main_file = "mmkit/cli/__init__.py"
    relative = {
        (str(Path(file).resolve().relative_to(ROOT)), name)
        for file, name in called
        if Path(file).resolve().is_relative_to(ROOT)
    }
    assert functions - relative == set()
    assert (main_file, "main") in relative
    for name in RUN_FILES - {"checkpoint/"}:
        assert (tmp_path / "run" / name).exists(), name
    assert not (tmp_path / "run" / "checkpoint").exists()
