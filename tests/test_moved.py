"""Modules under the names that they had before."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from mmkit.moved import MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_a_module_is_found_under_its_old_name(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=MOVED[old]):
        module = importlib.import_module(old)
    new = importlib.import_module(MOVED[old])
    public = {name for name in vars(new) if not name.startswith("__")}
    assert public and all(getattr(module, name) is getattr(new, name) for name in public)


def test_old_names_import_nothing_before_they_are_asked_for() -> None:
    code = "import sys, mmkit; print([m for m in sys.modules if m in ('torch', 'mmkit.runs.folder')])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
