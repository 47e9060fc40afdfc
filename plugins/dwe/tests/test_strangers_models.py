"""Models of strangers: neither the finder of parts nor the classifiers of faces run code that comes with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmkit_dwe.classifiers import Classifiers
from mmkit_dwe.finder import Finder
from own_code import check_refused


@pytest.mark.parametrize(
    "load", [lambda name: Finder(name, ["person"]), lambda name: Classifiers({"age": name}, {})]
)
def test_no_code_of_a_model_runs(
    load: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_refused(load, tmp_path, monkeypatch)
