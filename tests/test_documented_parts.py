"""The parts of docs/plugins.md that belong to no package there: every block runs, and keeps its station's contract."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mmkit.batch import Batch, States
from mmkit.data.types import Image, Prediction, Span
from mmkit.testing import (
    StateFuser,
    check_annotator,
    check_decoder,
    check_fuser,
    registered_parts,
    stand_in_examples,
    written_images,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "plugins.md"
BLOCK = re.compile(r"^(<!-- block: needs .*-->\n)?```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def names() -> Iterator[dict[str, Any]]:
    """What the blocks without a file name define, one after the other, as a reader would paste them."""
    module = sys.modules["documented"] = ModuleType("documented")
    with registered_parts():
        for number, (needs, block) in enumerate(BLOCK.findall(PAGE.read_text(encoding="utf-8")), start=1):
            if needs:
                continue
            exec(compile(block, f"block {number} of plugins.md", "exec"), vars(module))
    yield vars(module)
    del sys.modules["documented"]


def test_the_decoder_with_a_second_head_keeps_the_contract(names: dict[str, Any]) -> None:
    check_decoder(names["CountingTagger"]())


def test_the_second_head_predicts_a_number_of_names(names: dict[str, Any]) -> None:
    tagger, examples = names["CountingTagger"](), stand_in_examples()
    labels = tagger.fit(iter(examples))
    assert labels["most"] == 2 and labels["types"] == ["LOC", "PER"]
    tagger.build({"tokens": 6, "pooled": 6}, labels)
    tagger.eval().count.bias.data[1] = 100.0
    lengths = torch.tensor([len(example.tokens) for example in examples]).unsqueeze(1)
    first = torch.arange(int(lengths.max())).expand(4, -1)
    first = first.masked_fill(first >= lengths, -1)
    tokens = torch.zeros(*first.shape, 6)
    states = States({"tokens": tokens, "pooled": torch.zeros(4, 6), "first_subword": first})
    found = tagger.decode(states, Batch(tuple(examples), {}))
    assert [prediction.notes["mine.names"] for prediction in found] == [1] * 4
    assert tagger.targets(examples, {"text": {"first_subword": first}})["names"].tolist() == [2] * 4


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_the_helped_tagger_keeps_the_contract(names: dict[str, Any], scheme: str) -> None:
    check_decoder(names["HelpedTagger"](scheme=scheme), fuser=StateFuser(also=["auxiliary"]))


def test_the_helped_tagger_s_second_tags_are_the_first_s_without_types(names: dict[str, Any]) -> None:
    tagger = names["HelpedTagger"]()
    tagger.build({"tokens": 6, "auxiliary": 6}, tagger.fit(stand_in_examples()))
    plain = tagger.tag_set(["NAME"]).names
    found = {name: plain[i] for name, i in zip(tagger.tags.names, tagger.typeless.tolist(), strict=True)}
    assert found["B-PER"] == found["B-LOC"] == "B-NAME" and found["I-LOC"] == "I-NAME"
    assert all(found[name] == name for name in ("[PAD]", "O", "X", "[CLS]", "[SEP]"))


def test_the_annotator_keeps_the_contract(names: dict[str, Any], tmp_path: Path) -> None:
    check_annotator(names["Brightness"](), folder=tmp_path)


def test_the_annotator_fails_for_a_photo_that_cannot_be_read(names: dict[str, Any], tmp_path: Path) -> None:
    annotator, (example, *_) = names["Brightness"](), written_images(stand_in_examples(), tmp_path)
    (bright,) = annotator.annotate([example])
    assert 0 < bright < 1 and annotator.apply(example, bright).notes == {"mine.brightness": bright}
    Path(str(example.images[0].path)).write_bytes(b"no picture")
    (failed,) = annotator.annotate([example])
    assert isinstance(failed, names["Failed"]) and failed.reason


def test_the_fuser_of_a_linker_keeps_the_contract(names: dict[str, Any]) -> None:
    check_fuser(names["GatedQuery"]())


def test_the_scorer_scores_each_mention_with_each_entity(names: dict[str, Any]) -> None:
    scorer, dims = names["TwoViews"](), {"text.pooled": 4, "photo.pooled": 5}
    scorer.build(dims, dims)
    mentions = States({name: torch.randn(2, 1, width) for name, width in dims.items()})
    entities = {name: torch.randn(3, 1, width) for name, width in dims.items()}
    scores = scorer.scores(scorer.query(mentions), scorer.entity(entities))
    assert {name: value.shape for name, value in scores.items()} == dict.fromkeys(
        ("score", "text", "photo"), (2, 3)
    )
    torch.testing.assert_close(scores["score"], scores["text"] + scores["photo"])


def test_the_mention_has_tokens_with_their_places(names: dict[str, Any]) -> None:
    example = names["post"]("1", "Ann is in Paris", "a.jpg", "Paris", "Q90")
    assert example.tokens == ("Ann", "is", "in", "Paris") and example.offsets[3] == (10, 15)
    assert example.images == (Image("a.jpg"),) and example.entity == "Q90"


def test_the_task_asks_for_types_and_answers_with_spans(names: dict[str, Any]) -> None:
    task, (example, *_) = names["GroundedTask"](), stand_in_examples()
    assert task.asked(example, {"only": ("PER",)}, ()).notes == {"mine.only": ["PER"]}
    assert task.asked(example, {}, ()) is example
    prediction = Prediction(example.id, (Span(0, 1, "PER"),), (0.5,))
    (found,) = task.answered(example, prediction, ()).grounded
    assert (found.text, found.label, found.score) == ("Ann", "PER", 0.5)
