"""`mmkit.run.v1`: what a run's model computes, stored or not, saved again, and trained along."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from mmkit.batch import Batch
from mmkit.data.types import Entity, Example
from mmkit.encoders.items import MissingImages
from mmkit.encoders.store import prepare
from mmkit.files import write_json
from mmkit.loading.sample import sampled
from mmkit.model import Model, assemble
from mmkit.recipe import load_recipe
from mmkit.runs.expert import RunEncoder
from mmkit.runs.folder import Run, save_run
from raising import raises


def untrained(name: str, folder: Path, **overrides: object) -> tuple[Model, list[Example]]:
    """A run folder of a recipe's sample, with first weights, its model and some examples."""
    recipe = sampled(load_recipe(name)).with_overrides(overrides)
    examples = list(recipe.build("data.train"))
    model = assemble(recipe, examples=examples).eval()
    save_run(folder, recipe, model)
    return model, examples[:12]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model, list[Example]]:
    folder = tmp_path_factory.mktemp("tagger") / "run"
    return folder, *untrained("text_only_twitter15", folder, **{"model.decoder.subwords": "first"})


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model, list[Example]]:
    folder = tmp_path_factory.mktemp("classifier") / "run"
    return folder, *untrained("text_only_mnre", folder)


def built(run: Path, frozen: bool = True, saved: Path | None = None) -> RunEncoder:
    encoder = RunEncoder(str(run), frozen=frozen)
    encoder.build(saved=saved)
    return encoder.requires_grad_(not frozen).eval()


def features(encoder: RunEncoder, examples: list[Example]) -> dict[str, torch.Tensor]:
    return encoder(encoder.collate(examples, [{}] * len(examples)))


def expected(model: Model, examples: list[Example]) -> dict[str, torch.Tensor]:
    batch = model.collate(model.items(examples), targets=False)
    with torch.no_grad():
        states = model.fuser(model.named_encoders, Batch((), batch.inputs))
        return {"pooled": states["pooled"], **model.decoder.scores(states)}


@pytest.mark.parametrize("run", ["tagger", "classifier"])
def test_gives_what_the_runs_model_computes(run: str, request: pytest.FixtureRequest) -> None:
    folder, model, examples = request.getfixturevalue(run)
    encoder = built(folder)
    found = features(encoder, examples)
    assert found.pop("mask").all()
    for name, value in expected(model, examples).items():
        torch.testing.assert_close(found.pop(name).squeeze(1), value)
    assert not found
    assert encoder.labels == model.labels and encoder.dim == model.fuser.dims["pooled"]


@pytest.mark.parametrize("run", ["tagger", "classifier"])
def test_stored_features_are_the_computed_ones(
    run: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, examples = request.getfixturevalue(run)
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path))
    computed = features(built(folder), examples)
    encoder = built(folder)
    assert prepare(encoder, examples).computed > 0
    for place in (False, True):
        if place:
            assert encoder.stored is not None and encoder.stored.place("cpu", 1e9)
        stored = features(encoder, examples)
        assert stored.keys() == computed.keys()
        for name, value in computed.items():
            torch.testing.assert_close(stored[name].to(value), value)
    assert prepare(built(folder), examples).computed == 0, "another run reads what this one stored"


def test_tags_no_words_beyond_a_sentences_end(tagger: tuple[Path, Model, list[Example]]) -> None:
    folder, _, examples = tagger
    found = features(built(folder), examples)
    lengths = torch.tensor([len(x.tokens) for x in examples])
    assert torch.equal(found["lengths"].squeeze(1), lengths)
    beyond = torch.arange(found["emissions"].shape[2]) >= lengths[:, None]
    assert not found["emissions"].squeeze(1)[beyond].any()


def test_works_from_a_copy_alone(tagger: tuple[Path, Model, list[Example]], tmp_path: Path) -> None:
    folder, _, examples = tagger
    encoder = built(folder)
    encoder.save(tmp_path)
    copy = built(tmp_path / "nowhere", saved=tmp_path)
    copy.load_state_dict(encoder.state_dict())
    for name, value in features(encoder, examples).items():
        assert torch.equal(features(copy, examples)[name], value)


def test_is_trained_along_unless_frozen(tagger: tuple[Path, Model, list[Example]]) -> None:
    folder, _, examples = tagger
    assert not features(built(folder), examples)["emissions"].requires_grad
    encoder = built(folder, frozen=False)
    features(encoder, examples)["emissions"].sum().backward()
    reached = {name.split(".")[1] for name, p in encoder.named_parameters() if p.grad is not None}
    assert reached == {"encoders", "decoder"}


def test_reads_other_notes_as_other_examples(tagger: tuple[Path, Model, list[Example]]) -> None:
    folder, _, (first, second, *_) = tagger
    encoder = built(folder)
    source, missing = encoder.source, MissingImages()
    assert source.items(first, missing)[0][0] != source.items(second, missing)[0][0]
    assert source.identity(first) != source.identity(second)
    assert encoder.length(first, {}) > 2


def test_missing_images_are_one_matter_for_a_run_and_what_reads_it(
    tagger: tuple[Path, Model, list[Example]], tmp_path: Path
) -> None:
    for saved in (None, tmp_path):
        encoder = RunEncoder(str(tagger[0]))
        encoder.missing = MissingImages("blank")
        encoder.build(saved=saved)
        assert encoder.model.missing is encoder.missing
        encoder.save(tmp_path)


def test_a_run_that_is_not_there_says_how_to_train_it(tmp_path: Path) -> None:
    encoder = RunEncoder(str(tmp_path / "run"), recipe="text_only_mnre")
    with raises("expert.no-run") as error:
        encoder.build()
    assert f"mmkit train text_only_mnre --output {tmp_path / 'run'}" in str(error.value)


def test_a_run_that_is_not_over_is_refused(tagger: tuple[Path, Model, list[Example]], tmp_path: Path) -> None:
    run = Run(shutil.copytree(tagger[0], tmp_path / "run"))
    write_json(run.json_file, {**run.facts(), "status": "unfinished"})
    with raises("expert.unfinished-run", match="is unfinished") as error:
        RunEncoder(str(run.folder)).build()
    assert "--resume" in str(error.value)


def test_a_run_that_scores_no_words_is_refused(tmp_path: Path) -> None:
    untrained("text_only_twitter15", tmp_path / "run")  # tags subwords
    with raises("expert.gives-nothing", match="scores of labels"):
        RunEncoder(str(tmp_path / "run")).build()


def test_a_run_reads_no_entities(tagger: tuple[Path, Model, list[Example]]) -> None:
    encoder = built(tagger[0])
    with raises("expert.no-entities"):
        encoder.check_reads(Entity)
