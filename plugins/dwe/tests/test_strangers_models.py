"""Models of strangers: neither the finder of parts nor the classifiers of faces run code that comes with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmkit.errors import PartError
from mmkit_dwe.classifiers import Classifiers
from mmkit_dwe.finder import Finder
from mmkit_dwe.parts import Parts
from mmkit_dwe.profiles import Profiles
from own_code import check_refused


@pytest.mark.parametrize(
    "load", [lambda name: Finder(name, ["person"]), lambda name: Classifiers({"age": name}, {})]
)
def test_no_code_of_a_model_runs(
    load: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_refused(load, tmp_path, monkeypatch)


def test_a_model_that_is_not_there_is_found_before_it_is_asked() -> None:
    for annotator in (Parts("no/such/folder"), Profiles(classifiers={"age": "no/such/folder"})):
        with pytest.raises(PartError, match=r"no/such/folder.*there is no such folder"):
            annotator.check_there()
    Parts().check_there()  # of the Hub: its results may all be stored
    with pytest.raises(PartError, match="it is not on this machine"):
        Parts().check_computable()
