"""Imports point one way: in the core from right to left along `LAYERS`, and nowhere in a circle.

All imports count, also those inside functions; only those under `if TYPE_CHECKING` do not, which never run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LAYERS = (
    ("errors", "files", "cache", "moved", "access", "terminal"),
    ("pretrained",),
    ("data",),
    ("ops", "batch", "inspection", "pages"),
    ("config",),
    ("registry", "hooks", "recipe_names", "recipe", "config.check", "trackers"),
    ("annotators", "encoders", "fusers", "decoders", "metrics", "tasks", "scorers", "entities"),
    ("model", "model_entities", "fit"),
    ("loading",),
    ("checking", "runs"),
    ("inference",),
    ("training",),
    ("start",),
    ("cli", "testing", "scaffold", "__main__"),
)
"""Modules and packages of `mmkit`, the lowest first. A module may import those of its own layer and of lower ones.

A module that stands apart from its package is named in full: what a recipe may say follows from the parts there are.
"""


def packages() -> dict[str, Path]:
    """Import name → folder, of the core and of every plugin in this repository."""
    plugins = sorted((ROOT / "plugins").glob("*/mmkit_*/__init__.py"))
    return {"mmkit": ROOT / "mmkit"} | {file.parent.name: file.parent for file in plugins}


def modules() -> dict[str, Path]:
    """Import name → file, of every module of `packages`."""
    found = {}
    for package, folder in packages().items():
        for file in sorted(folder.rglob("*.py")):
            parts = (package, *file.relative_to(folder).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(name: str, tree: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    """The known modules that a module imports, without those it names in annotations alone."""
    for node in running(tree):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name} has a relative import"
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            wanted = [full if full in known else node.module for full in below]
        else:
            continue
        yield from (module for module in wanted if module in known)


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from (other, *running(other))
        else:
            yield node
            yield from running(node)


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """Module → the modules that it imports."""
    known = modules()
    trees = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in known.items()}
    return {name: set(imports(name, tree, known)) - {name} for name, tree in trees.items()}


def inside(module: str) -> bool:
    """Whether a module is the core's."""
    return module.partition(".")[0] == "mmkit"


def layer(module: str) -> int:
    """The place of a module of the core in `LAYERS`. Fails for one that stands in none.

    `mmkit/__init__.py`, the public interface, stands beside the command line: it hands on what lies in any layer.
    """
    _, _, inside = module.partition(".")
    if not inside:
        return len(LAYERS) - 1
    places = {name: i for i, names in enumerate(LAYERS) for name in names}
    at = places.get(inside, places.get(inside.partition(".")[0]))
    assert at is not None, f"{module} stands in no layer of LAYERS"
    return at


def test_the_core_imports_no_plugin(graph):
    assert not [
        (module, other)
        for module, wanted in graph.items()
        for other in wanted
        if inside(module) and not inside(other)
    ]


def test_imports_point_down(graph):
    upward = [
        f"{module} imports {other}"
        for module, wanted in graph.items()
        for other in wanted
        if inside(module) and inside(other) and layer(other) > layer(module)
    ]
    assert not upward, "imports that point up:\n" + "\n".join(sorted(upward))


def test_the_documentation_tells_the_same():
    """The table in docs/architecture.md: a row for each layer, in order, of modules that stand in it."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("| modules of `mmkit` |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [re.findall(r"`([\w./]+)`", row.split("|")[1]) for row in table]
    modules = [[f"mmkit.{name.rstrip('/')}".replace("mmkit.mmkit", "mmkit") for name in row] for row in rows]
    assert [[layer(module) for module in row] for row in modules] == [
        [i] * len(row) for i, row in enumerate(modules)
    ]
    assert len(modules) == len(LAYERS)


def test_no_imports_in_a_circle(graph):
    circles = [sorted(circle) for circle in components(graph) if len(circle) > 1]
    assert not circles, f"modules that import one another: {circles}"


def test_plugins_import_each_other_in_one_direction(graph):
    """TESGA may build on MoRe, say, but then not MoRe on TESGA."""
    between: dict[str, set[str]] = {}
    for module, wanted in graph.items():
        own = module.partition(".")[0]
        between.setdefault(own, set()).update(other.partition(".")[0] for other in wanted)
    between = {name: wanted - {name} for name, wanted in between.items()}
    assert not [c for c in components(between) if len(c) > 1]


def components(graph: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of a graph (Kosaraju's algorithm: two searches, the second backwards)."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(node: str, edges: dict[str, set[str]], into: list[str]) -> None:
        seen.add(node)
        for other in sorted(edges.get(node, ())):
            if other not in seen:
                visit(other, edges, into)
        into.append(node)

    for node in graph:
        if node not in seen:
            visit(node, graph, order)
    backwards: dict[str, set[str]] = {}
    for node, wanted in graph.items():
        for other in wanted:
            backwards.setdefault(other, set()).add(node)
    seen.clear()
    found = []
    for node in reversed(order):
        if node not in seen:
            members: list[str] = []
            visit(node, backwards, members)
            found.append(set(members))
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import mmkit.recipe", {"mmkit.recipe"}),
        ("from mmkit.recipe import Recipe", {"mmkit.recipe"}),
        ("from mmkit import recipe", {"mmkit.recipe"}),
        ("def f():\n    from mmkit.recipe import Recipe", {"mmkit.recipe"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mmkit.recipe", set()),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import mmkit.recipe", {"mmkit.recipe"}),
        ("import torch", set()),
    ],
)
def test_what_counts_as_an_import(source, expected):
    assert set(imports("x", ast.parse(source), modules())) == expected


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set()}
    assert [c for c in components(graph) if len(c) > 1] == [{"a", "b", "c"}]
