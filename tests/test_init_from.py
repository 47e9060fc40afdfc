"""`[training] init_from`: a training that goes on from a run, on other data and with other labels."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import mmkit
from mmkit.cli import main
from mmkit.data.types import Entity, Example
from mmkit.fit import fitting_parts
from mmkit.hooks import hookimpl
from mmkit.loading.annotation import Annotation
from mmkit.loading.splits import read_splits
from mmkit.loading.stand_ins import tiny
from mmkit.model import Model, assemble
from mmkit.runs.folder import save_run
from mmkit.runs.start import Start, Taken
from raising import raises

SETTING = "training.init_from"


class Notes:
    """What a training says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @hookimpl
    def mmkit_note(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def started(tagger: Path, tmp_path: Path) -> Path:
    """A copy of a run that tags spans, to be damaged."""
    return Path(shutil.copytree(tagger, tmp_path / "start"))


def given(recipe: mmkit.Recipe) -> tuple[Model, Taken]:
    """The model of a recipe before its first update, and what it was given."""
    parts = fitting_parts(recipe)
    start = Start.of(recipe, parts)
    assert start is not None
    examples = list(recipe.build("data.train"))
    model = assemble(recipe, parts=parts, examples=examples, folders=start.folders)
    return model, start.give(model)


def tag_rows(folder_or_model: Path | Model, name: str) -> dict[str, Any]:
    """A decoder's tensor by the names of tags."""
    if isinstance(folder_or_model, Path):
        tensor = load_file(folder_or_model / "model.safetensors")[name]
        tags = json.loads((folder_or_model / "labels.json").read_text())["tags"]
    else:
        tensor, tags = folder_or_model.state_dict()[name], folder_or_model.labels["tags"]
    return dict(zip(tags, tensor, strict=True))


def test_it_goes_on_where_the_run_ended(tagger: Path, sample_recipe: Path, tmp_path: Path) -> None:
    notes = Notes()
    settings = {SETTING: tagger, "training.epochs": 1, "training.learning_rate": 0.0}
    result = mmkit.train(sample_recipe, settings, tmp_path / "run", device="cpu", hooks=[notes])
    before = mmkit.load(tagger, device="cpu").figures
    assert result.figures == before
    taken, new, *_ = (line for line in notes.said if line.startswith(SETTING))
    assert "taken: model.encoders.text (37 of 37 tensors), model.encoders.vision" in taken
    assert new.endswith("new: nothing")
    facts = json.loads((result.run / "run.json").read_text())["init_from"]
    assert facts["run"] == str(tagger)
    assert facts["taken"]["model.decoder"] == {"whole": 5}
    assert facts["labels"]["types"] == {"taken": ["LOC", "ORG", "OTHER", "PER"], "new": [], "left": []}
    assert mmkit.load(result.run, device="cpu").recipe.training.init_from == str(tagger)


def test_labels_are_matched_by_name(tagger: Path, sample_recipe: Path) -> None:
    rename = {"data.train.rename": {"PER": "PERSON", "LOC": "APLACE"}}
    recipe = mmkit.load_recipe(sample_recipe, {SETTING: tagger, "recipe.seed": 3, **rename})
    model, taken = given(recipe)
    assert taken.labels["types"] == {
        "taken": ["ORG", "OTHER"],
        "new": ["APLACE", "PERSON"],
        "left": ["LOC", "PER"],
    }
    for name in ("decoder.linear.weight", "decoder.linear.bias", "decoder.crf.start_transitions"):
        own, saved = tag_rows(model, name), tag_rows(tagger, name)
        for tag in ("O", "B-OTHER", "I-OTHER", "B-ORG", "I-ORG"):
            assert torch.equal(own[tag], saved[tag])
    fresh = assemble(recipe, examples=recipe.build("data.train"))
    own, other = (tag_rows(m, "decoder.linear.weight") for m in (model, fresh))
    assert torch.equal(own["B-PERSON"], other["B-PERSON"])
    tags, saved_tags = model.labels["tags"], json.loads((tagger / "labels.json").read_text())["tags"]
    moves, saved_moves = (
        model.state_dict()["decoder.crf.transitions"],
        load_file(tagger / "model.safetensors"),
    )
    i, j = tags.index("B-ORG"), tags.index("I-OTHER")
    k, m = saved_tags.index("B-ORG"), saved_tags.index("I-OTHER")
    assert moves[i, j] == saved_moves["decoder.crf.transitions"][k, m]


def test_another_encoder_is_new_and_named(tagger: Path, sample_recipe: Path, tmp_path: Path) -> None:
    recipe = mmkit.load_recipe(sample_recipe, {SETTING: tagger})
    other = shutil.copytree(recipe.settings("model.encoders.text")["name"], tmp_path / "other")
    recipe = recipe.with_overrides({"model.encoders.text.name": other, "model.encoders.vision.frozen": True})
    model, taken = given(recipe)
    assert taken.new["model.encoders.text"].startswith(f'its name is "{other}"'[:40])
    fresh = assemble(recipe, examples=recipe.build("data.train"))
    saved = load_file(tagger / "model.safetensors")
    for name, tensor in model.state_dict().items():
        expected = fresh.state_dict()[name] if name.startswith("encoders.text.") else saved[name]
        assert torch.equal(tensor, expected), name


def test_a_model_without_pictures_leaves_what_depends_on_them(tagger: Path, sample_recipe: Path) -> None:
    tree = mmkit.load_recipe(sample_recipe).config
    del tree["model"]["encoders"]["vision"]
    tree["model"]["fuser"] = {"@fusers": "mmkit.text_only.v1"}
    model, taken = given(mmkit.load_recipe(tree, {SETTING: tagger}))
    assert taken.left == ("model.encoders.vision", "model.fuser")
    assert set(taken.parts) == {"model.encoders.text", "model.decoder"}
    assert list(taken.parts["model.decoder"].new) == ["decoder.linear.weight"]
    assert taken.to_json()["new"]["decoder.linear.weight"].startswith("its shape is (9, ")
    saved = load_file(tagger / "model.safetensors")
    assert torch.equal(model.state_dict()["decoder.crf.transitions"], saved["decoder.crf.transitions"])


def test_other_special_tokens_leave_the_words_of_an_encoder(tmp_path: Path) -> None:
    """A tagger's encoder becomes that of a classifier of pairs, which adds four markers to the vocabulary."""
    recipe = mmkit.sampled("text_only_twitter15")
    before = assemble(recipe, examples=recipe.build("data.train"))
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.add_(0.01)
    save_run(tmp_path / "start", recipe, before)
    pairs = mmkit.sampled(mmkit.load_recipe("text_only_mnre", {SETTING: tmp_path / "start"}))
    name = "model.encoders.text"
    assert pairs.settings(name)["name"] == recipe.settings(name)["name"]
    model, taken = given(pairs)
    (embeddings,) = taken.parts[name].rows
    own, saved = model.state_dict()[embeddings], before.state_dict()[embeddings]
    assert len(own) == len(saved) + 4
    words = len(saved) - len(pairs.build("model.decoder").special_tokens)
    assert torch.equal(own[:words], saved[:words])
    assert not taken.parts[name].new and len(taken.parts[name].whole) == 36
    assert "model.decoder" in taken.new


def test_tiny_encoders_go_on_with_the_words_of_the_run(sample_recipe: Path, tmp_path: Path) -> None:
    """New data have other words; the stand-ins of `--tiny` are then those of the run, not new ones."""

    def data(*posts: str) -> dict[str, Any]:
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        spans = [{"start_char": 0, "end_char": 4, "label": "PER"}]
        file.write_text("".join(json.dumps({"text": post, "spans": spans}) + "\n" for post in posts))
        reader = {"@readers": "mmkit.jsonl.v1", "root": str(tmp_path), "file": file.name}
        return {"data.train": reader, "data.dev": reader, "data.test": reader}

    tree = mmkit.load_recipe(sample_recipe).config
    del tree["model"]["encoders"]["vision"]
    tree["model"]["fuser"] = {"@fusers": "mmkit.text_only.v1"}
    tree["model"]["encoders"]["text"]["name"] = "bert-base-cased"
    first = tiny(mmkit.load_recipe(tree, {**data("Anna sings", "Anna sings"), "training.epochs": 1}))
    run = mmkit.train(first, tmp_path / "run", device="cpu").run
    words = data("Mary plays the violin", "Mary plays the violin")
    alone = tiny(mmkit.load_recipe(tree, words))
    further = tiny(mmkit.load_recipe(tree, {**words, SETTING: run}))
    name = "model.encoders.text"
    assert further.settings(name)["name"] == first.settings(name)["name"] != alone.settings(name)["name"]
    _, taken = given(further)
    assert not taken.new and len(taken.parts[name].whole) == 37


# -- what is refused -----------------------------------------------------------------------------------------


def damage_weights(run: Path) -> None:
    content = bytearray((run / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (run / "model.safetensors").write_bytes(content)


def leave_unfinished(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "unfinished"}))


def pickle_weights(run: Path) -> None:
    marker = run / "ran"

    class Runs:
        def __reduce__(self) -> Any:
            return (marker.write_text, ("ran",))

    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "files": {}}))
    torch.save({"decoder.linear.bias": Runs()}, run / "model.safetensors")


WRONG: list[tuple[Callable[[Path], object], str, str]] = [
    (shutil.rmtree, "run.not-a-run", "there is no such folder"),
    (lambda run: (run / "recipe.cfg").unlink(), "run.not-a-run", "this is not a run folder"),
    (lambda run: (run / "labels.json").unlink(), "run.missing-file", "labels.json is missing"),
    (
        lambda run: (run / "recipe.cfg").write_text("[recipe]\nformat = 1\n"),
        "run.changed-recipe",
        "was changed",
    ),
    (damage_weights, "run.changed-file", r"model\.safetensors is damaged"),
    (leave_unfinished, "run.not-complete", 'its status is "unfinished"'),
]


@pytest.mark.parametrize(("damage", "code", "said"), WRONG)
def test_a_damaged_or_unfinished_run_is_one_message(
    started: Path,
    sample_recipe: Path,
    tmp_path: Path,
    damage: Callable[[Path], object],
    code: str,
    said: str,
) -> None:
    damage(started)
    with raises(code, match=rf"^training\.init_from = .*{said}"):
        mmkit.train(sample_recipe, {SETTING: started}, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_no_code_of_the_run_is_executed(started: Path, sample_recipe: Path, tmp_path: Path) -> None:
    pickle_weights(started)
    with raises("run.damaged", match="the weights are damaged"):
        mmkit.train(sample_recipe, {SETTING: started}, tmp_path / "run", device="cpu")
    assert not (started / "ran").exists()


def test_nobody_is_contacted_for_a_strangers_encoders(started: Path, sample_recipe: Path) -> None:
    """The network of an encoder is made of the run's own files; its name is on no machine."""
    name = "nobody/has-this-model"
    recipe = (started / "recipe.cfg").read_text()
    own = mmkit.load_recipe(sample_recipe).settings("model.encoders.text")["name"]
    (started / "recipe.cfg").write_text(recipe.replace(f'"{own}"', f'"{name}"'))
    facts = json.loads((started / "run.json").read_text())
    (started / "run.json").write_text(json.dumps({**facts, "files": {}}))
    _, taken = given(mmkit.load_recipe(sample_recipe, {SETTING: started, "model.encoders.text.name": name}))
    assert len(taken.parts["model.encoders.text"].whole) == 37
    (started / "encoders" / "text" / "config.json").write_text('{"model_type": "own"}')
    with pytest.raises(mmkit.MMKitError, match="own"):
        given(mmkit.load_recipe(sample_recipe, {SETTING: started, "model.encoders.text.name": name}))


def test_a_run_of_which_nothing_fits_is_refused(started: Path, sample_recipe: Path, tmp_path: Path) -> None:
    other = shutil.copytree(
        mmkit.load_recipe(sample_recipe).settings("model.encoders.text")["name"], tmp_path / "other"
    )
    settings = {
        SETTING: started,
        "model.encoders.text.name": other,
        "model.encoders.vision.name": "resnet10t",
        "model.fuser": {"@fusers": "mmkit.text_only.v1"},
        "model.decoder": {"@decoders": "mmkit.softmax_tagger.v1"},
    }
    tree = mmkit.load_recipe(sample_recipe).config
    del tree["model"]["encoders"]["vision"], settings["model.encoders.vision.name"]
    with raises(
        "run.nothing-fits", match=r"model\.encoders\.text: its name is .*model\.decoder: it is mmkit\.sof"
    ):
        given(mmkit.load_recipe(tree, settings))


def test_a_run_that_changed_since_does_not_resume(started: Path, sample_recipe: Path, tmp_path: Path) -> None:
    class Stop:
        @hookimpl
        def mmkit_step(self, step: int) -> None:
            if step == 3:
                raise KeyboardInterrupt

    recipe = mmkit.load_recipe(sample_recipe, {SETTING: started, "training.epochs": 1})
    with pytest.raises(mmkit.Interrupted):
        mmkit.train(recipe, tmp_path / "run", device="cpu", hooks=[Stop()])
    damage_weights(started)
    facts = json.loads((started / "run.json").read_text())
    (started / "run.json").write_text(json.dumps({**facts, "files": {}}))
    with raises("run.other-start", match="has changed since the training from it began"):
        mmkit.train(recipe, tmp_path / "run", device="cpu", resume=True)


def test_check_says_what_would_be_taken(started: Path, sample_recipe: Path) -> None:
    arguments = ["check", str(sample_recipe), f"--{SETTING}", str(started)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "taken: model.encoders.text (37 of 37 tensors)" in " ".join(done.output.split())
    damage_weights(started)
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "model.safetensors is damaged" in done.output


# -- the papers ----------------------------------------------------------------------------------------------


def data_of(recipe: mmkit.Recipe) -> tuple[list[Example], list[Entity] | Any]:
    names = [name for name in ("train", "entities") if name in recipe.parts("data")]
    splits = read_splits(recipe, names, annotation=Annotation.of(recipe, "cpu", lambda *_: None))
    return list(splits["train"].examples), splits["entities"].entities if "entities" in splits else ()


def renamed(example: Example, names: dict[str, str]) -> Example:
    def span(one: mmkit.Span) -> mmkit.Span:
        return dataclasses.replace(one, label=names.get(one.label, one.label))

    relations = tuple(
        mmkit.Relation(span(r.head), span(r.tail), names.get(r.label or "", r.label))
        for r in example.relations
    )
    return dataclasses.replace(example, spans=tuple(map(span, example.spans)), relations=relations)


PAPERS = {
    "hvpnet_twitter15": {"PER": "PERSON"},
    "hvpnet_mnre": {"/per/per/peer": "/per/per/friends"},
    "tesga_jmere": {"per": "person", "peer": "friends"},
    "more_twitter15_text": {"PER": "PERSON"},
    "dwe_wikidiverse": {},
    "dim_wikidiverse": {},
    "umt_twitter15": {"PER": "PERSON"},
}


@pytest.mark.parametrize("name", PAPERS)
def test_every_papers_model_goes_on_with_other_labels(name: str, tmp_path: Path) -> None:
    """Everything is taken but what belongs to new labels; with the same labels it predicts as before."""
    recipe = mmkit.sampled(name)
    examples, entities = data_of(recipe)
    before = assemble(recipe, examples=examples, entities=entities)
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    save_run(tmp_path / "start", recipe, before)
    state = before.state_dict()

    free = {
        f"model.decoder.{k}": None for k in ("types", "relations") if k in recipe.settings("model.decoder")
    }
    other = recipe.with_overrides({SETTING: tmp_path / "start", "recipe.seed": 99, **free})
    assert (
        mmkit.sampled(mmkit.load_recipe(name, {SETTING: tmp_path / "start"})).config["model"]["encoders"]
        == (recipe.config["model"]["encoders"])
    )
    parts = fitting_parts(other)
    start = Start.of(other, parts)
    assert start is not None and not start.other
    examples = [renamed(example, PAPERS[name]) for example in examples]
    model = assemble(other, parts=parts, examples=examples, entities=entities, folders=start.folders)
    fresh = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    taken = start.give(model)
    assert not taken.new and not taken.left
    assert not any(some.new for some in taken.parts.values())
    rows = {key: t for some in taken.parts.values() for key, t in some.rows.items()}
    assert bool(rows) == bool(PAPERS[name])
    for key, tensor in model.state_dict().items():
        if key not in rows:
            assert torch.equal(tensor, state[key]), key
        elif tensor.dim() < 2 or tensor.shape[0] != tensor.shape[1]:
            same = [bool(torch.equal(a, b)) for a, b in zip(tensor, fresh[key], strict=True)]
            assert any(same) and not all(same), key
    new = {label for kinds in taken.labels.values() for label in kinds["new"]}
    assert new == set(PAPERS[name].values())
