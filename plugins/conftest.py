"""Shared by the plugins' tests: no network, and a cache of their own."""

from __future__ import annotations

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when it is imported


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the user's cache out of the tests."""
    os.environ.setdefault("MMKIT_CACHE", str(tmp_path_factory.mktemp("mmkit-cache")))
