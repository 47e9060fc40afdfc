"""Runs that are trained once, and a Hub on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

import mmkit
from hub_server import TOKEN, FakeHub, Repository
from mmkit.runs.folder import Run

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


@pytest.fixture(scope="session")
def tagger_recipe() -> dict[str, Any]:
    """A recipe of a tagger with text and pictures."""
    return TAGGER


@pytest.fixture(scope="session")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tags spans, with pictures; its networks and data lie in the cache."""
    folder = tmp_path_factory.mktemp("runs") / "tagger"
    mmkit.train(mmkit.sampled(TAGGER), output=folder, device="cpu")
    return folder


@pytest.fixture(scope="session")
def linker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that links mentions to entities."""
    folder = tmp_path_factory.mktemp("runs") / "linker"
    mmkit.train(mmkit.sampled("text_only_wikimel"), {"training.epochs": 1}, output=folder, device="cpu")
    return folder


@pytest.fixture(scope="session")
def packaged(tagger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tagger's package, with a licence."""
    from mmkit_hub.card import Wishes
    from mmkit_hub.package import make_package

    folder = tmp_path_factory.mktemp("packages") / "tagger"
    return make_package(tagger, folder, wishes=Wishes("apache-2.0", ["en"])).folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub on this machine, which HF_ENDPOINT names, with an empty cache and a token."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its protocol is no part of the server
    server = FakeHub()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    yield server
    server.close()


@pytest.fixture
def shared_run(hub: FakeHub, packaged: Path) -> str:
    """The tagger's package on the Hub, as the public model me/tagger; its commit."""
    names = [path for path in packaged.rglob("*") if path.is_file()]
    repository = hub.repositories["me/tagger"] = Repository(private=False)
    commit = repository.commit({path.relative_to(packaged).as_posix(): path.read_bytes() for path in names})
    repository.large.add(Run(packaged).facts()["files"]["model.safetensors"]["sha256"])
    return commit
