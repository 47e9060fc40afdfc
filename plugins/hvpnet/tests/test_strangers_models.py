"""Models of strangers: neither the detector nor the tagger of parts of speech runs code that comes with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmkit_hvpnet.detector import Detector
from mmkit_hvpnet.phrases import PosTagger
from own_code import check_refused


@pytest.mark.parametrize("load", [Detector, PosTagger])
def test_no_code_of_a_model_runs(
    load: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_refused(load, tmp_path, monkeypatch)
