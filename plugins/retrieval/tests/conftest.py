"""Shared by the tests of retrieval: where the published data lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the project that holds the published datasets; tests on it skip where it is missing."""
    folder = Path(os.environ.get("MMKIT_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the published datasets are not beside the project")
    return folder
