"""The recipes on their samples, the parts' contracts, and the examples that questions show."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmkit.batch import Batch, States
from mmkit.data.types import Example, Span
from mmkit.testing import check_encoder, check_fuser, check_recipe
from mmkit_vlm.alignment import squashed
from mmkit_vlm.entities import Entities
from mmkit_vlm.ngrams import Ngrams, parts
from mmkit_vlm.settings import ChatSettings, ShotSettings
from mmkit_vlm.shots import chosen

pytestmark = pytest.mark.usefixtures("own_environment")

SAID = ["red wine from Paris", "the match in Chicago", "a red car in Rome", "a match that Jordan won"]


def examples() -> list[Example]:
    return [
        Example.from_tokens(str(i), text.split(), spans=(Span(0, 1, f"L{i % 2}"),))
        for i, text in enumerate(SAID)
    ]


@pytest.mark.matrix
def test_entities_beat_blank_pictures(tmp_path: Path) -> None:
    check_recipe("vlm_entities", folder=tmp_path, at_least=0.85, beats_blank=0.25, resumes=False)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("recipe", "at_least", "margin"),
    [("vlm_relations", 0.75, 0.25), ("vlm_joint", 0.55, 0.2), ("vlm_links", 0.9, 0.25)],
)
def test_the_other_recipes(recipe: str, at_least: float, margin: float, tmp_path: Path) -> None:
    check_recipe(recipe, folder=tmp_path, at_least=at_least, beats_blank=margin, resumes=False)


@pytest.mark.matrix
def test_the_nearest_examples_on_the_sample(tmp_path: Path) -> None:
    nearest = {"model.decoder.shots.choose": "nearest", "model.decoder.shots.number": 40}
    check_recipe("vlm_entities", nearest, folder=tmp_path, at_least=0.5, resumes=False)


def test_the_encoder_and_the_fuser(tmp_path: Path) -> None:
    check_encoder("vlm.ngrams.v1", {"width": 64}, folder=tmp_path)
    check_fuser("vlm.texts.v1")


def test_parts_of_words() -> None:
    assert parts("New York") == ["new", "york", "^ne", "new", "ew$", "^yo", "yor", "ork", "rk$"]


def test_fixed_shots_show_each_label_first() -> None:
    def labels(example: Example) -> list[str]:
        return [span.label for span in example.spans]

    for seed in range(5):
        pair = chosen(examples(), 2, seed, labels)
        assert {example.spans[0].label for example in pair} == {"L0", "L1"}
    assert len(chosen(examples(), 9, 0, labels)) == 4
    assert chosen(examples(), 3, 1, labels) == chosen(examples(), 3, 1, labels)


@pytest.mark.parametrize("choose", ["fixed", "nearest"])
def test_no_question_shows_its_own_answer(choose: str) -> None:
    encoder = Ngrams()
    encoder.build()
    shots = ShotSettings(number=3, choose=choose, pool=4)  # type: ignore[arg-type]
    made = Entities(ChatSettings(backend="stand_in"), shots)
    made.build({"query": encoder.dim}, made.fit(examples()))
    made.connect({"text": encoder})
    same = [*examples(), Example.from_text("spaced", f" {SAID[0]}\t")]
    queries = encoder(encoder.collate(same, [{} for _ in same]))["pooled"].sum(1)
    for example, shown in zip(same, made._shots_of(same, queries, {"text": encoder}), strict=True):
        assert squashed(example.text) not in [squashed(shot.text) for shot in shown]
        assert len(shown) == 3 if choose == "nearest" else len(shown) >= 2


def test_nearest_shots_are_those_with_most_in_common() -> None:
    encoder = Ngrams()
    encoder.build()
    made = Entities(ChatSettings(backend="stand_in"), ShotSettings(number=2, choose="nearest", pool=4))
    labels = made.fit(examples())
    made.build({"query": encoder.dim}, labels)
    made.connect({"text": encoder})
    asked = Example.from_text("q", "red wine and a red car")
    inputs = encoder.collate([asked], [{}])
    query = encoder(inputs)["pooled"].sum(1)
    ((further, nearer),) = made._nearest({"text": encoder}, query, 2)
    assert {nearer.text, further.text} == {SAID[0], SAID[2]}
    (prediction,) = made.decode(
        States({"query": query}), Batch((asked,), {"text": inputs}), {"text": encoder}
    )
    assert prediction.id == "q"
    assert torch.equal(encoder(encoder.collate([asked], [{}]))["pooled"], encoder(inputs)["pooled"])
