"""`--tiny`: a recipe on its own data with stand-in encoders, offline; the run says what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import mmkit
from mmkit.cli import main
from mmkit.loading.stand_ins import tiny
from mmkit.recipe import load_recipe

NAMES = {"Jordan": "PER", "Paris": "LOC", "Nike": "ORG"}
RECIPE = """[recipe]
format = 1

[data.train]
@readers = "mmkit.jsonl.v1"
root = "posts"
file = "train.jsonl"

[data.dev]
@readers = "mmkit.jsonl.v1"
root = "posts"
file = "train.jsonl"

[model.encoders.text]
@encoders = "mmkit.transformer.v1"
name = "no-such-model"

[model.encoders.vision]
@encoders = "mmkit.timm.v1"
name = "resnet50.tv_in1k"
frozen = true

[model.fuser]
@fusers = "mmkit.concat.v1"

[model.decoder]
@decoders = "mmkit.crf_tagger.v1"

[metrics.spans]
@metrics = "mmkit.span_f1.v1"

[training]
epochs = 1
batch_size = 4
score = "spans.f1"

[sample]
training.learning_rate = 5e-3
data.train.file = "nowhere.jsonl"
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe, posts and a picture; it is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "posts").mkdir()
    Image.new("RGB", (20, 20), "red").save(tmp_path / "posts" / "red.png")
    posts = [
        {
            "tokens": ["see", name, str(i)],
            "spans": [{"start": 1, "end": 2, "label": label}],
            "images": ["red.png"],
        }
        for i, (name, label) in enumerate(list(NAMES.items()) * 3)
    ]
    (tmp_path / "posts" / "train.jsonl").write_text("".join(f"{json.dumps(post)}\n" for post in posts))
    (tmp_path / "mine.cfg").write_text(RECIPE)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_own_data_and_overrides_stay_and_models_are_replaced(mine: Path) -> None:
    recipe = tiny(load_recipe("mine.cfg", {"training.epochs": 3, "training.learning_rate": 0.1}))
    assert recipe.config["data"]["train"]["file"] == "train.jsonl"
    assert recipe.training.epochs == 3
    assert recipe.training.learning_rate == 0.1
    assert Path(recipe.config["model"]["encoders"]["text"]["name"]).is_dir()
    assert recipe.config["recipe"]["tiny"] is True
    assert tiny("mine.cfg").training.learning_rate == 5e-3  # of [sample]


def test_a_model_that_an_override_names_is_kept(mine: Path) -> None:
    recipe = tiny(load_recipe("mine.cfg", {"model.encoders.text.name": "mine/model"}))
    assert recipe.config["model"]["encoders"]["text"]["name"] == "mine/model"


def test_train_and_evaluate_say_that_it_is_tiny(mine: Path) -> None:
    trained = run("train", "mine.cfg", "--tiny", "--output", "runs/a", "--training.epochs", "2", "--quiet")
    assert trained.exit_code == 0, trained.output
    assert "mine (tiny): completed" in trained.stdout
    assert "the scores say nothing about the method" in trained.stderr
    facts = json.loads((mine / "runs/a/run.json").read_text())
    assert facts["tiny"] is True
    assert facts["epochs"] == 2
    assert "tiny = true" in (mine / "runs/a/recipe.cfg").read_text()
    assert "untrained stand-ins" in repr(mmkit.load("runs/a"))
    scored = run("evaluate", "runs/a", "--split", "dev")
    assert scored.exit_code == 0
    assert "the scores say nothing about the method" in scored.stderr


def test_check_needs_no_hub_and_reports_damaged_records(mine: Path) -> None:
    assert run("check", "mine.cfg", "--tiny").exit_code == 0
    with (mine / "posts" / "train.jsonl").open("a") as file:
        file.write('{"tokens": ["x"], "spans": [{"start": 5, "end": 6, "label": "PER"}]}\n')
    said = run("check", "mine.cfg", "--tiny")
    assert said.exit_code == 1
    assert "train.jsonl:10" in said.stdout


def test_sample_and_tiny_exclude_each_other(mine: Path) -> None:
    said = run("train", "mine.cfg", "--tiny", "--sample")
    assert said.exit_code == 2
    assert "give one of them" in said.stderr


def test_few_posts_are_read_often_enough(mine: Path) -> None:
    """Nine posts in batches of four are three updates an epoch."""
    (mine / "mine.cfg").write_text(RECIPE + "training.epochs = 2\n")
    assert tiny("mine.cfg").training.epochs == 80
    assert tiny(load_recipe("mine.cfg", {"training.epochs": 5})).training.epochs == 5
    assert tiny(load_recipe("mine.cfg", {"training.batch_size": 1})).training.epochs == 28
