"""Descriptions from a real chat server, transformers' own."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from describing import described, describer, entities
from mmkit.annotators.run import annotate
from mmkit.data.types import Example
from mmkit.errors import DataError
from mmkit_dim.descriptions import EntityDescriptions

pytestmark = pytest.mark.usefixtures("own_environment")


# A real server


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    texts = ["Jordan scored in the match", "Amazon opened a shop in Paris", "Ada Lovelace wrote programs"]
    examples = [Example.from_tokens(str(i), text.split()) for i, text in enumerate(texts)]
    folder = tmp_path_factory.mktemp("lm") / "model"
    return str(EntityDescriptions.sample(folder, 1, examples)["model"])


@pytest.fixture(scope="module")
def transformers_serve(language_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `transformers serve` with a tiny model."""
    if not all(importlib.util.find_spec(package) for package in ("fastapi", "uvicorn")):
        pytest.skip("transformers[serving] is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [str(Path(sys.executable).with_name("transformers")), "serve", language_model]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*program, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    pytest.fail(f"transformers serve does not answer:\n{log.read_text()}")


def test_a_real_server_says_what_the_local_model_says(
    transformers_serve: str, language_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = entities("Jordan", "Paris", "Amazon", "Ada Lovelace", 'Jordan "Air" {shoe}\n</s>')
    monkeypatch.setenv("OPENAI_BASE_URL", transformers_serve)
    monkeypatch.setenv("OPENAI_MODEL", language_model)
    served = annotate(EntityDescriptions(max_tokens=12, parallel=2), known)
    local = annotate(EntityDescriptions(language_model, "local", max_tokens=12), known)
    assert described(served) == described(local)
    assert len(set(described(served))) == len(known), "the name must make a difference"


def test_a_real_servers_answers_are_stored_for_any_address(
    transformers_serve: str, language_model: str
) -> None:
    known = entities("Jordan", "Paris")
    first = annotate(EntityDescriptions(language_model, max_tokens=8, base_url=transformers_serve), known)
    nowhere = EntityDescriptions(language_model, max_tokens=8, base_url="http://127.0.0.1:1/v1")
    assert annotate(nowhere, known) == first


def test_a_real_servers_refusal_is_told(transformers_serve: str) -> None:
    with pytest.raises(DataError, match=r"Q0: 400: Server is pinned to .*requested 'm'"):
        annotate(describer(transformers_serve), entities("Jordan"))
