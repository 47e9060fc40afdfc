"""A package that is made once, and a Hub on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from hub_server import TOKEN, FakeHub, Repository
from mmkit.runs.folder import Run


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
