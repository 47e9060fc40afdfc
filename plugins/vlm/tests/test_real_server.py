"""A real small language model on a real server, transformers' own: what it answers is kept, counted and aligned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mmkit
from describing import described, entities
from mmkit.annotators.run import annotate
from mmkit.data.predictions import read_predictions
from mmkit_dim.descriptions import EntityDescriptions
from mmkit_vlm.account import NOTE
from real_server import transformers_serve
from small_language_model import gemma

pytestmark = [pytest.mark.matrix, pytest.mark.slow, pytest.mark.usefixtures("own_environment")]

NOWHERE = "http://127.0.0.1:1/v1"

POSTS = {
    "train": (
        "Ada/PER Lovelace/PER wrote programs in London/LOC",
        "Grace/PER Hopper/PER lived in Boston/LOC",
        "Amazon/ORG opened a shop in Paris/LOC",
    ),
    "dev": ("Marie/PER Curie/PER worked in Warsaw/LOC",),
    "test": (
        "Barack/PER Obama/PER spoke in Berlin/LOC",
        "Google/ORG bought a house in Dublin/LOC",
        "what a long and quiet day",
    ),
}
"""Each post with the types of its names."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gemma(tmp_path_factory.mktemp("gemma"))


@pytest.fixture(scope="module")
def address(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with transformers_serve(model, tmp_path_factory.mktemp("serve") / "log") as found:
        yield found


def written(folder: Path) -> Path:
    """The posts in columns."""
    folder.mkdir()
    for split, posts in POSTS.items():
        lines: list[str] = []
        for number, post in enumerate(posts):
            lines.append(f"IMGID:{split}{number}")
            before = ""
            for word in post.split():
                text, _, label = word.partition("/")
                tag = f"{'I' if label == before else 'B'}-{label}" if label else "O"
                lines.append(f"{text}\t{tag}")
                before = label
            lines.append("")
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def recipe(data: Path, model: Path, address: str) -> Any:
    files = {f"data.{split}.file": f"{split}.txt" for split in POSTS}
    chat = {
        "model": str(model),
        "base_url": address,
        "pictures": 0,
        "max_tokens": 40,
        "parallel": 2,
        "timeout": 300.0,
        "prices": [1.0, 2.0],
    }
    return mmkit.load_recipe(
        "vlm_entities",
        {
            "paths.data": str(data),
            **files,
            **{f"data.{split}.images": None for split in POSTS},
            **{f"model.decoder.chat.{name}": value for name, value in chat.items()},
            "model.decoder.shots.number": 3,
        },
    )


def test_what_a_real_model_finds_is_kept_counted_and_aligned(
    model: Path, address: str, tmp_path: Path
) -> None:
    data = written(tmp_path / "data")
    first = mmkit.train(recipe(data, model, address), output=tmp_path / "run", device="cpu", quiet=True)
    account = json.loads((tmp_path / "run/vlm/test.json").read_text(encoding="utf-8"))
    told = [each.prediction for each in read_predictions(tmp_path / "run/predictions/test.jsonl")]
    examples = list(first.recipe.build("data.test"))
    assert account["examples"] == len(told) == len(examples) == 3

    # Every answer is counted once: as usable, or with the reason why not.
    assert account["usable"] + sum(account["unusable"].values()) == 3 and account["no_answer"] == {}
    assert account["usable"] >= 2, "this model keeps to the form of the examples"
    dropped = [sum(p.notes[NOTE].get("dropped", {}).values()) for p in told]
    assert sum(dropped) == sum(account["dropped"].values())

    # What is kept are words of the text.
    for example, prediction in zip(examples, told, strict=True):
        assert all(0 <= s.start < s.end <= len(example.tokens) for s in prediction.spans)
        assert all(span.label in ("LOC", "ORG", "PER") for span in prediction.spans)
        assert prediction.span_scores == (1.0,) * len(prediction.spans)
    assert any(prediction.spans for prediction in told)

    # The server counts tokens: the three questions are alike, and no answer is longer than allowed.
    assert account["counted"] == 3
    assert all(100 < p.notes[NOTE]["prompt_tokens"] < 400 for p in told)
    assert all(0 < p.notes[NOTE]["answer_tokens"] <= 40 for p in told)
    wanted = (account["prompt_tokens"] + 2 * account["answer_tokens"]) / 1e6
    assert account["cost"] == pytest.approx(wanted)

    # Nothing is asked again: the answers are stored for any address.
    again = mmkit.train(recipe(data, model, NOWHERE), output=tmp_path / "again", device="cpu", quiet=True)
    assert again["figures"] == first["figures"]
    files = [(tmp_path / run / "predictions/test.jsonl").read_bytes() for run in ("run", "again")]
    assert files[0] == files[1]


def test_a_real_model_says_the_same_when_it_is_asked_again(
    model: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = entities("Paris", "Super Bowl")
    asked = {"model": str(model), "base_url": address, "max_tokens": 16, "parallel": 1, "timeout": 300.0}
    first = annotate(EntityDescriptions(**asked), known)
    assert all(described(first)) and len(set(described(first))) == 2
    assert annotate(EntityDescriptions(**{**asked, "base_url": NOWHERE}), known) == first
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "other"))
    assert annotate(EntityDescriptions(**asked), known[:1]) == first[:1]
