"""Shared by the plugins' tests: where the published data lie, no network, and a cache of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from matrix import leave_out_matrix

os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when it is imported


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the user's cache out of the tests."""
    os.environ.setdefault("MMKIT_CACHE", str(tmp_path_factory.mktemp("mmkit-cache")))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the project that holds the published datasets; tests on it skip where it is missing."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("MMKIT_SHARED", beside))
    if not (folder / "data").is_dir():
        pytest.skip("the published datasets are not beside the project")
    return folder


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out_matrix(config, items)
