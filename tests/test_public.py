"""The public interface: what `mmkit` exports, what plugins use of it, and the page about it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import mmkit
from mmkit.metrics.base import Metric
from raising import raises

ROOT = Path(__file__).resolve().parents[1]


def script() -> ModuleType:
    """docs/site/api.py, which writes docs/api.md."""
    spec = importlib.util.spec_from_file_location("api_page", ROOT / "docs" / "site" / "api.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


API = script()


@pytest.mark.parametrize("name", mmkit.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(mmkit, name) is not None
    assert name in dir(mmkit)


def test_a_name_that_is_not_exported_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        mmkit.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_importing_mmkit_imports_no_torch() -> None:
    code = (
        "import sys, mmkit; mmkit.Example, mmkit.hookimpl, mmkit.load_recipe, mmkit.DataError, mmkit.read;"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "called"),
    [("check", "mmkit.errors.RecipeError: "), ("evaluate", "mmkit.errors.RunError: ")],
)
def test_a_module_that_became_a_function_is_both(name: str, called: str) -> None:
    code = (
        f"import mmkit, inspect, warnings; warnings.simplefilter('ignore'); function = mmkit.{name};"
        f"from mmkit.{name} import {name}; assert {name} is function;"
        f"import mmkit.{name} as module; assert module.{name} is function;"
        f"assert inspect.signature(mmkit.{name}) == inspect.signature(function);"
        f"mmkit.{name}('no such run or recipe')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert any(line.startswith(called) for line in done.stderr.splitlines()), done.stderr


def test_reading_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(
        '{"format": 1, "kind": "examples"}\n{"text": "look at Jordan !"}\n', encoding="utf-8"
    )
    assert [example.text for example in mmkit.read(tmp_path / "x.jsonl")] == ["look at Jordan !"]
    (tmp_path / "x.txt").write_text("look\tO\nJordan\tB-OTHER\n\n", encoding="utf-8")
    settings = {"images": None, "rename": {"OTHER": "MISC"}}
    (example,) = mmkit.read(tmp_path / "x.txt", "mmkit.conll_images.v1", **settings)
    assert isinstance(example, mmkit.Example)
    assert example.spans == (mmkit.Span(1, 2, "MISC"),)
    with raises("part.invalid", match="'rename'"):
        mmkit.read(tmp_path / "x.txt", "mmkit.conll_images.v1", renam={})
    with raises("part.unknown", match=r"'mmkit\.jsonl\.v1'"):
        mmkit.read(tmp_path / "x.txt", "mmkit.json.v1")


def test_parts_are_registered_for_a_blocks_time() -> None:
    class Nothing(Metric):
        """Counts nothing."""

        def reset(self) -> None: ...
        def update(self, examples: object, predictions: object) -> None: ...
        def compute(self) -> dict[str, float]:
            return {"n": 0.0}

    with mmkit.testing.registered_parts(metrics={"t.nothing.v1": Nothing}):
        assert mmkit.build_part("metrics", "t.nothing.v1", {}).compute() == {"n": 0.0}
    with raises("part.unknown", match=r"t\.nothing\.v1"):
        mmkit.build_part("metrics", "t.nothing.v1", {})
    with (
        raises("part.no-registry", match="'metrics'"),
        mmkit.testing.registered_parts(metric={}),
    ):
        pass


# -- the page ------------------------------------------------------------------------------------------------


def test_every_exported_name_is_on_the_page_once() -> None:
    named = [name for names in API.GROUPS.values() for name in names]
    assert sorted(named) == sorted(set(mmkit.__all__) - {"__version__"})


def test_the_page_is_what_its_script_writes() -> None:
    written = API.PAGE.read_text(encoding="utf-8")
    assert written == API.page(), "run: python docs/site/api.py"


# -- what plugins use ----------------------------------------------------------------------------------------

PLUGINS = sorted(ROOT.glob("plugins/*/mmkit_*/**/*.py"))


def used(file: Path) -> Iterator[tuple[int, str, str]]:
    """(line, module, name) of what a file imports from mmkit; a name that is itself a module is one, without a name."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name, "") for a in node.names if a.name.split(".")[0] == "mmkit")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mmkit":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                whole = inner in API.PUBLIC_MODULES or importlib.util.find_spec(node.module) is None
                yield (node.lineno, inner, "") if whole else (node.lineno, node.module, alias.name)


def is_public(module: str, name: str) -> bool:
    if module == "mmkit":
        return not name or name in mmkit.__all__
    if module not in API.PUBLIC_MODULES:
        return False
    return not name or (not name.startswith("_") and is_defined(importlib.import_module(module), name))


def is_defined(module: ModuleType, name: str) -> bool:
    """Whether a module defines a name, or lists it as its own: what it imports from elsewhere is public there."""
    if name in getattr(module, "__all__", ()):
        return True
    home = getattr(getattr(module, name), "__module__", module.__name__)
    return home == module.__name__ or not str(home).startswith("mmkit")


def test_plugins_use_public_names_alone() -> None:
    assert len(PLUGINS) > 50
    private = [
        f"{file.relative_to(ROOT)}:{line}: {module} {name}"
        for file in PLUGINS
        for line, module, name in used(file)
        if not is_public(module, name)
    ]
    assert private == []


def test_the_page_for_authors_of_plugins_uses_public_names_alone(tmp_path: Path) -> None:
    text = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python[^\n]*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) > 12
    private = []
    for number, block in enumerate(blocks, start=1):
        (tmp_path / "x.py").write_text(block, encoding="utf-8")
        private += [(number, m, name) for _, m, name in used(tmp_path / "x.py") if not is_public(m, name)]
    assert private == []


def test_a_use_of_something_private_is_found(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "from mmkit.training.loop import Progress\n"
        "from mmkit.encoders.transformer import no_bars\n"
        "from mmkit.files import atomic\n"
        "from mmkit.recipe import _checked\n"
        "from mmkit import Example, errors\n"
        "import mmkit.model\n"
    )
    found = [(line, is_public(module, name)) for line, module, name in used(tmp_path / "x.py")]
    assert sorted(found) == [(1, False), (2, False), (3, True), (4, False), (5, True), (5, True), (6, False)]


def test_public_modules_say_what_they_are() -> None:
    undocumented = [m for m in API.PUBLIC_MODULES if not inspect.getdoc(importlib.import_module(m))]
    assert undocumented == []
