"""Two stages: a trained tagger finds names, and the matcher chooses a region for each; the tagger stays as it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mmkit
from mixtures import Run as StandInRun
from mixtures import expert_of
from mmkit import load_recipe
from mmkit.data.predictions import read_predictions
from mmkit.data.types import Box, Example, Image, Region, Span
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.pair_classifier import PairClassifier
from mmkit.testing import WordEncoder, check_decoder, check_fuser, check_recipe, stand_in_examples
from mmkit_gmner.matcher import Spans
from mmkit_gmner.region_matcher import RegionMatcher
from mmkit_gmner.task import VISIBLE
from mmkit_gmner.two_stages import TwoStages
from raising import raises
from regions import RegionEncoder

WHOLE, LEFT = (0.0, 0.0, 100.0, 50.0), (0.0, 0.0, 20.0, 20.0)


def post(id: str, text: str, spans: Sequence[Span], boxes: Sequence[Box]) -> Example:
    photo = Image(f"{id}.jpg")
    objects = (Image(photo.path, "object", box) for box in boxes)
    return Example.from_tokens(id, text.split(), images=(photo, *objects), spans=tuple(spans))


def posts() -> list[Example]:
    seen = (Region(0, LEFT),)
    return [
        post("a", "Ann loves Paris", [Span(0, 1, "PER", seen), Span(2, 3, "LOC")], [WHOLE, LEFT]),
        post("b", "look at Bob Miller in Rome", [Span(2, 4, "PER"), Span(5, 6, "LOC", seen)], [LEFT]),
        replace(post("c", "Kim", [Span(0, 1, "PER")], []), images=()),
        post("d", "nothing to see", [], [WHOLE, LEFT]),
    ]


def run(*types: str, frozen: bool = True) -> StandInRun:
    """A trained tagger of these types."""
    examples = [replace(posts()[0], spans=tuple(Span(i, i + 1, name) for i, name in enumerate(types)))]
    found = expert_of(CrfTagger(), examples)
    found.frozen = frozen
    return found


def encoders(tagger: StandInRun) -> dict[str, Any]:
    return {"text": WordEncoder(), "regions": RegionEncoder(), "tagger": tagger}


def test_the_contracts() -> None:
    tagger = run("PER", "LOC")
    check_decoder(
        "gmner.region_matcher.v1",
        encoders=encoders(tagger),
        fuser=TwoStages(),
        examples=posts(),
        tolerance=1e-3,
    )
    built = encoders(run("PER", "LOC"))
    for name in ("text", "regions"):
        built[name].build()
    check_fuser("gmner.two_stages.v1", encoders=built, examples=posts())


def test_names_are_those_of_the_tagger_and_only_their_regions_are_new() -> None:
    tagger = run("PER", "LOC")
    matcher = RegionMatcher(threshold=0.0, dropout=0.0)
    fuser, own = TwoStages(dropout=0.0), encoders(tagger.eval())
    for name in ("text", "regions"):
        own[name].build()
    fuser.build(own)
    matcher.build(fuser.dims, matcher.fit(posts()))
    matcher.connect(own)
    assert not [name for name, _ in matcher.named_parameters() if not name.startswith("matcher.")]

    views = [{"text": matcher.views(x)["text"]} for x in posts()]
    inputs = {name: encoder.collate(posts(), views) for name, encoder in own.items()}
    questions = tuple(matcher.task.question(x) for x in posts())
    batch = mmkit.Batch(questions, inputs)
    states = fuser(own, batch)
    told = own["tagger"](inputs["tagger"])
    mask = torch.arange(told["emissions"].shape[2]) < told["lengths"]
    tags, _ = tagger.decoder.tag(told["emissions"].squeeze(1), mask)  # type: ignore[operator]
    wanted = [set() for _ in posts()]  # type: list[set[tuple[int, int, str]]]
    chunks = tagger.decoder.tags.chunks(tags.numpy())  # type: ignore[union-attr, operator]
    for row, start, end, kind in zip(chunks.row, chunks.start, chunks.end, chunks.type, strict=True):
        wanted[row].add((int(start), int(end), tagger.decoder.tags.types[kind]))  # type: ignore[union-attr, index]
    found = matcher.decode(states, batch)
    assert [{(s.start, s.end, s.label) for s in p.spans} for p in found] == wanted
    assert any(wanted), "the random tagger finds something"
    for prediction, example in zip(found, posts(), strict=True):
        boxes = [image.box for image in example.images if image.role == "object"]
        assert len(prediction.notes[VISIBLE]) == len(prediction.spans)
        assert all(len(span.regions) == bool(boxes) for span in prediction.spans)


def test_the_losses_are_those_of_one_stage_for_the_gold_names() -> None:
    matcher = RegionMatcher(dropout=0.0)
    torch.manual_seed(2)
    matcher.build({"tokens": 8, "regions": 8}, matcher.fit(posts()))
    states = mmkit.States(
        {
            "tokens": torch.randn(2, 6, 8),
            "first_subword": torch.arange(6).expand(2, -1),
            "regions": torch.randn(2, 2, 8),
            "region_mask": torch.tensor([[True, True], [True, False]]),
        }
    )
    targets = matcher.targets(posts()[:2], {})
    assert targets["spans"].tolist() == [[0, 0, 1, 1], [0, 2, 3, 0], [1, 2, 4, 1], [1, 5, 6, 0]]
    assert targets["shown"].tolist() == [True, False, False, True]
    losses = matcher.loss(states, targets)
    match = matcher.matcher(states, Spans(*targets["spans"].unbind(1)))
    logits = match.visible * torch.tensor([1.0, -1.0, -1.0, 1.0])
    torch.testing.assert_close(losses["visible"], -torch.nn.functional.logsigmoid(logits).sum() / 2)
    right = match.regions[0, 1] + match.regions[3, 0]
    torch.testing.assert_close(losses["region"], -right / 2)


@pytest.mark.parametrize(
    ("tagger", "code", "said"),
    [
        (lambda: run("PER", "LOC", "MISC"), "gmner.other-types", "only the tagger knows MISC"),
        (lambda: run("PER"), "gmner.other-types", "only the training data has LOC"),
        (lambda: run("PER", "LOC", frozen=False), "gmner.tagger-trained", "cannot be trained here"),
        (WordEncoder, "gmner.no-tagger", "no run that tags words"),
        (
            lambda: expert_of(PairClassifier(), stand_in_examples()),
            "gmner.no-tagger",
            "no run that tags words",
        ),
    ],
    ids=["a type too many", "a type too few", "trained", "no run", "a classifier"],
)
def test_a_tagger_that_does_not_fit_is_refused(tagger: Callable[[], Any], code: str, said: str) -> None:
    matcher = RegionMatcher()
    matcher.build({"tokens": 8, "regions": 8}, matcher.fit(posts()))
    with raises(code, match=said):
        matcher.connect({"tagger": tagger()})


def test_a_tagger_that_is_not_there_is_named() -> None:
    matcher = RegionMatcher(tagger="stage_one")
    matcher.build({"tokens": 8, "regions": 8}, matcher.fit(posts()))
    with raises("gmner.no-tagger", match="no such encoder") as caught:
        matcher.connect({"tagger": run("PER", "LOC")})
    assert caught.value.where == "model.encoders.stage_one"


def test_a_type_that_was_not_learnt_is_named() -> None:
    matcher = RegionMatcher()
    matcher.build({"tokens": 8, "regions": 8}, matcher.fit(posts()))
    with raises("task.unknown-span-type"):
        matcher.targets([post("x", "Ann", [Span(0, 1, "FOOD")], [])], {})


def test_training_data_without_names_or_with_strange_crops_are_told() -> None:
    matcher = RegionMatcher(context="gmner.context")
    strange = replace(posts()[3], images=(*posts()[3].images, Image("crop.jpg", "object")))
    codes = [problem.code for problem in matcher.examine([strange])]
    assert codes == ["task.no-spans", "gmner.no-region", "gmner.no-context"]


def test_the_stages_with_contexts_differ_in_contexts_alone() -> None:
    plain, context = (load_recipe(f"gmner_two_stage{end}").config for end in ("", "_context"))
    files = {split: context["data"][split].pop("contexts") for split in ("train", "dev", "test")}
    assert files == {"train": "contexts/train.txt", "dev": "contexts/valid.txt", "test": "contexts/test.txt"}
    for split in files:
        plain["data"][split].pop("contexts")
    assert context["model"]["decoder"].pop("context") == "gmner.context"
    plain["model"]["decoder"].pop("context")
    assert context["model"]["encoders"]["tagger"]["recipe"] == "gmner_context_none"
    for config in (plain, context):
        config["model"]["encoders"].pop("tagger")
        config["model"]["encoders"]["text"].pop("max_length")
    for section in ("data", "annotators", "model", "metrics", "training"):
        assert plain[section] == context[section]


def test_the_tagger_with_contexts_has_the_settings_of_pgim() -> None:
    own, pgim = (load_recipe(name) for name in ("gmner_context_none", "pgim_twitter17"))
    assert own.config["backbones"] == pgim.config["backbones"] and own.seed == pgim.seed
    assert {**own.config["training"], "score": ""} == {**pgim.config["training"], "score": ""}
    assert own.config["model"]["encoders"] == pgim.config["model"]["encoders"]
    decoders = (own.config["model"]["decoder"], pgim.config["model"]["decoder"])
    assert [decoder.pop("context") for decoder in decoders] == ["gmner.context", "pgim.knowledge"]
    assert decoders[0] == decoders[1]


def test_only_the_second_stage_is_another_than_in_one_stage() -> None:
    boxes, stages = (load_recipe(f"gmner_{name}").config for name in ("boxes", "two_stage"))
    tagger = stages["model"]["encoders"].pop("tagger")
    assert (tagger["recipe"], tagger["run"], tagger["frozen"]) == ("gmner_none", "runs/gmner_none", True)
    assert boxes["data"] == stages["data"] and boxes["annotators"] == stages["annotators"]
    assert boxes["model"]["encoders"] == stages["model"]["encoders"]
    assert boxes["training"]["groups"].pop("tags")
    assert boxes["training"] == stages["training"]


@pytest.mark.matrix
def test_a_trained_tagger_and_photos_give_the_boxes(tmp_path: Path) -> None:
    figures = check_recipe("gmner_two_stage", folder=tmp_path, at_least=0.9, beats_blank=0.35)
    assert figures["triples.mner_f1"] > 0.95 and figures["triples.region_accuracy"] > 0.9

    # The names are those of the first stage, on the same posts, and the run holds all that it needs.
    recipe = mmkit.sampled("gmner_two_stage")
    first = mmkit.load(recipe.config["model"]["encoders"]["tagger"]["run"], device="cpu")
    test = list(recipe.build("data.test"))
    alone = first.predict_batch(test)
    both = [told.prediction for told in read_predictions(tmp_path / "run" / "predictions" / "test.jsonl")]
    assert [[replace(s, regions=()) for s in p.spans] for p in both] == [list(p.spans) for p in alone]


@pytest.mark.matrix
def test_the_run_needs_the_taggers_folder_no_more(tmp_path: Path) -> None:
    mmkit.train(mmkit.sampled("gmner_none"), {"training.epochs": 1}, output=tmp_path / "tagger", device="cpu")
    recipe = mmkit.sampled("gmner_two_stage").with_overrides(
        {"model.encoders.tagger.run": str(tmp_path / "tagger"), "training.epochs": 1}
    )
    mmkit.train(recipe, output=tmp_path / "run", device="cpu")
    shutil.rmtree(tmp_path / "tagger")
    loaded = mmkit.load(tmp_path / "run", device="cpu")
    (answer,) = loaded.predict_batch([next(iter(recipe.build("data.test")))])
    assert len(answer.notes[VISIBLE]) == len(answer.spans)
