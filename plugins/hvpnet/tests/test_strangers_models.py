"""Models of strangers: neither the detector nor the tagger of parts of speech runs code that comes with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmkit.errors import PartError
from mmkit_hvpnet.detector import Detector
from mmkit_hvpnet.grounding import GroundedObjects
from mmkit_hvpnet.phrases import PosTagger
from own_code import check_refused


@pytest.mark.parametrize("load", [Detector, PosTagger])
def test_no_code_of_a_model_runs(
    load: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_refused(load, tmp_path, monkeypatch)


def test_a_model_that_is_not_there_is_found_before_it_is_asked() -> None:
    for annotator in (GroundedObjects("no/such/folder"), GroundedObjects(tagger="no/such/folder")):
        with pytest.raises(PartError, match=r"no/such/folder.*there is no such folder"):
            annotator.check_there()
    GroundedObjects().check_there()  # of the Hub: its results may all be stored
    with pytest.raises(PartError, match="it is not on this machine"):
        GroundedObjects().check_computable()
