"""Shared by the plugins' tests: the published data, no network, a cache of their own, runs that are trained once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import mmkit
from matrix import leave_out_matrix

os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when it is imported

TAGGER: dict[str, Any] = {
    "recipe": {"format": 1},
    "about": {"paper": "none", "task": "entities", "dataset": "synthetic"},
    "data.train": {"@readers": "mmkit.conll_images.v1", "root": "data", "file": "train.txt"},
    "data.dev": {"@readers": "mmkit.conll_images.v1", "root": "data", "file": "valid.txt"},
    "data.test": {"@readers": "mmkit.conll_images.v1", "root": "data", "file": "test.txt"},
    "model.encoders.text": {"@encoders": "mmkit.transformer.v1", "name": "bert-base-uncased"},
    "model.encoders.vision": {"@encoders": "mmkit.timm.v1", "name": "resnet18"},
    "model.fuser": {"@fusers": "mmkit.concat.v1"},
    "model.decoder": {"@decoders": "mmkit.crf_tagger.v1"},
    "metrics.spans": {"@metrics": "mmkit.span_f1.v1"},
    "training": {"epochs": 3, "learning_rate": 3e-3, "batch_size": 16, "score": "spans.f1"},
}


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


@pytest.fixture(scope="session")
def tagger_recipe() -> dict[str, Any]:
    """A recipe of a tagger with text and pictures."""
    return TAGGER


@pytest.fixture(scope="session")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tags spans, with pictures; its networks and data lie in the cache. It is not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "tagger"
    mmkit.train(mmkit.sampled(TAGGER), output=folder, device="cpu")
    return folder


@pytest.fixture(scope="session")
def linker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that links mentions to entities. It is not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "linker"
    mmkit.train(mmkit.sampled("text_only_wikimel"), {"training.epochs": 1}, output=folder, device="cpu")
    return folder


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out_matrix(config, items)
