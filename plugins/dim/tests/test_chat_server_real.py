"""Descriptions from a real chat server, transformers' own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from describing import described, describer, entities
from mmkit.annotators.run import annotate
from mmkit.data.types import Example
from mmkit.errors import DataError
from mmkit_dim.descriptions import EntityDescriptions
from real_server import transformers_serve

pytestmark = pytest.mark.usefixtures("own_environment")


# A real server


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    texts = ["Jordan scored in the match", "Amazon opened a shop in Paris", "Ada Lovelace wrote programs"]
    examples = [Example.from_tokens(str(i), text.split()) for i, text in enumerate(texts)]
    folder = tmp_path_factory.mktemp("lm") / "model"
    return str(EntityDescriptions.sample(folder, 1, examples)["model"])


@pytest.fixture(scope="module")
def served(language_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `transformers serve` with a tiny model."""
    with transformers_serve(language_model, tmp_path_factory.mktemp("serve") / "log") as address:
        yield address


def test_a_real_server_says_what_the_local_model_says(
    served: str, language_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = entities("Jordan", "Paris", "Amazon", "Ada Lovelace", 'Jordan "Air" {shoe}\n</s>')
    monkeypatch.setenv("OPENAI_BASE_URL", served)
    monkeypatch.setenv("OPENAI_MODEL", language_model)
    told = annotate(EntityDescriptions(max_tokens=12, parallel=2), known)
    local = annotate(EntityDescriptions(language_model, "local", max_tokens=12), known)
    assert described(told) == described(local)
    assert len(set(described(told))) == len(known), "the name must make a difference"


def test_a_real_servers_answers_are_stored_for_any_address(served: str, language_model: str) -> None:
    known = entities("Jordan", "Paris")
    first = annotate(EntityDescriptions(language_model, max_tokens=8, base_url=served), known)
    nowhere = EntityDescriptions(language_model, max_tokens=8, base_url="http://127.0.0.1:1/v1")
    assert annotate(nowhere, known) == first


def test_a_real_servers_refusal_is_told(served: str) -> None:
    with pytest.raises(DataError, match=r"Q0: 400: Server is pinned to .*requested 'm'"):
        annotate(describer(served), entities("Jordan"))
