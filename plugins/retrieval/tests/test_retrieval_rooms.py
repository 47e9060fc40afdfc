"""Imports inside the package point one way, and file names say what is in them once."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import mmkit_retrieval

PACKAGE = Path(mmkit_retrieval.__file__).parent
ROOMS = [
    {"retrieved", "checksums"},
    {"corpora"},
    {"text", "pictures"},
    {"servers", "indexing"},
    {"annotators"},
    {"command"},
    {"hooks"},
]
"""From the lowest to the highest: a module imports from its own room, and from those below."""

LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}


def imported(path: Path) -> set[str]:
    """The package's modules that one imports, inside functions and for type checking too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmkit_retrieval"):
            base = (node.module or "").removeprefix("mmkit_retrieval").removeprefix(".")
            names = {f"{base}.{alias.name}".strip(".") for alias in node.names}
            found |= {base} if base in MODULES else names
    return found


def test_imports_point_to_the_same_room_or_a_lower_one() -> None:
    assert {name.split(".")[0] for name in MODULES} == set(LEVEL)
    for name, path in MODULES.items():
        room = name.split(".")[0]
        for other in imported(path):
            target = other.split(".")[0]
            assert other in MODULES and (target == room or LEVEL[target] < LEVEL[room]), f"{name} → {other}"


def test_no_two_files_have_one_name() -> None:
    assert max(Counter(path.name for path in MODULES.values()).values()) == 1
