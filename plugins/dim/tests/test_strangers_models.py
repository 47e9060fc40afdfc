"""Models of strangers: neither the captioner nor the language model runs code that comes with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmkit_dim.blip2 import Captioner
from mmkit_dim.local_model import LocalModel
from own_code import check_refused


@pytest.mark.parametrize("load", [Captioner, LocalModel])
def test_no_code_of_a_model_runs(
    load: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_refused(load, tmp_path, monkeypatch)
