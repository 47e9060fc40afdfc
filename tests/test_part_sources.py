"""Finding a part's source file without importing it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmkit.config import sources

names = itertools.count()


# -- finding sources -----------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], str]:
    def put(files: dict[str, str]) -> str:
        module = f"mmkit_source_{next(names)}"
        for name, text in files.items():
            file = tmp_path / module / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        return module

    return put


def test_a_class_behind_reexports_is_found(package: Callable[[dict[str, str]], str]) -> None:
    name = package(
        {
            "__init__.py": "from .inner import Renamed as Public\n",
            "inner/__init__.py": "try:\n    from .deep import Real as Renamed\nexcept ImportError:\n    raise\n",
            "inner/deep.py": 'x = 1\n\n\nclass Real:\n    """The real one."""\n',
        }
    )
    found = sources.find(f"{name}:Public")
    assert (found.summary, found.file.name, found.line) == ("The real one.", "deep.py", 4)


def test_nested_names_conditional_and_dynamic_ones(package: Callable[[dict[str, str]], str]) -> None:
    name = package(
        {
            "__init__.py": "",
            "a.py": 'class Outer:\n    class Inner:\n        """Inner."""\n'
            'if 1:\n    def f():\n        """F."""\nval = f\n',
            "star.py": "from .a import *\n",
            "lazy.py": "def __getattr__(name): ...\n",
        }
    )
    assert sources.find(f"{name}.a:Outer.Inner").summary == "Inner."
    assert sources.find(f"{name}.a:f").summary == "F."
    assert sources.find(f"{name}.a:val").summary == ""
    assert sources.find(f"{name}.star:Anything").summary == ""
    assert sources.find(f"{name}.lazy:Anything").summary == ""
    assert sources.find(f"{name}.a").file.name == "a.py"
    with pytest.raises(sources.SourceError, match=r"has no 'Outer.Other'"):
        sources.find(f"{name}.a:Outer.Other")


def test_reexports_in_a_circle_end(package: Callable[[dict[str, str]], str]) -> None:
    name = package({"__init__.py": "", "a.py": "from .b import X\n", "b.py": "from .a import X\n"})
    assert sources.find(f"{name}.a:X").summary == ""


def test_namespace_packages_and_compiled_modules(package: Callable[[dict[str, str]], str]) -> None:
    name = package({"inner/a.py": 'class A:\n    """A."""\n', "inner/fast.abi3.so": "\x7fELF"})
    assert sources.find(f"{name}.inner.a:A").summary == "A."
    assert sources.find(f"{name}.inner.fast:B").summary == ""
    with pytest.raises(sources.SourceError, match=r"no __init__.py"):
        sources.find(f"{name}:A")


def test_an_editable_install_through_a_path_hook_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As setuptools makes them: a finder that maps the top-level package to a folder off the path."""
    import importlib.machinery
    import importlib.util

    folder = tmp_path / "src" / "mmkit_editable"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "parts.py").write_text('class A:\n    """Editable."""\n')

    class Finder:
        @staticmethod
        def find_spec(fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
            if fullname != "mmkit_editable":
                return None
            return importlib.util.spec_from_file_location(fullname, folder / "__init__.py")

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert sources.find("mmkit_editable.parts:A").summary == "Editable."
