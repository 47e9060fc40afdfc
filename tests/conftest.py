"""Shared fixtures: where the published data and the golden numbers lie, and a cache of the tests' own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the project that holds the published datasets; tests on it skip where it is missing."""
    folder = Path(os.environ.get("MMKIT_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the published datasets are not beside the project")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the user's cache out of the tests, and the tests off the network."""
    os.environ.setdefault("MMKIT_CACHE", str(tmp_path_factory.mktemp("mmkit-cache")))
    os.environ["HF_HUB_OFFLINE"] = "1"
