"""The annotators keep their station's contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.testing import check_annotator


@pytest.mark.parametrize("name", ["retrieval.text.v1", "retrieval.pictures.v1"])
def test_the_annotators(name: str, tmp_path: Path) -> None:
    check_annotator(name, folder=tmp_path)
