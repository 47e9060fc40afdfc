"""`mmkit check` and pretrained networks: all that cannot be had or made is found at once, and nothing is fetched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from transformers import BertConfig, BertModel, DebertaV2Config, DebertaV2Model

from mmkit.checking import made
from mmkit.cli import main
from mmkit.pretrained.networks import no_bars
from mmkit.recipe import Recipe, load_recipe
from mmkit.training.train import train

TEXT, VISION = "--model.encoders.text.name", "--model.encoders.vision.name"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 440449768\n"


def check(*arguments: object) -> tuple[int, list[str]]:
    """The exit code, and the problems of what the recipe builds on."""
    done = CliRunner().invoke(main, ["check", *map(str, arguments), "--json"])
    return done.exit_code, json.loads(done.output).get("parts", {}).get("problems", [])


@pytest.fixture(scope="module")
def recipe(sample_recipe: Path) -> Recipe:
    return load_recipe(sample_recipe)


@pytest.fixture
def text(recipe: Recipe, tmp_path: Path) -> Path:
    """A copy of the text encoder's folder."""
    return shutil.copytree(recipe.config["model"]["encoders"]["text"]["name"], tmp_path / "text")


@pytest.fixture
def vision(recipe: Recipe, tmp_path: Path) -> Path:
    return shutil.copytree(recipe.config["model"]["encoders"]["vision"]["name"], tmp_path / "vision")


def test_all_backbones_that_cannot_be_had_are_found_at_once(sample_recipe: Path, recipe: Recipe) -> None:
    names = (TEXT, "no/such/folder", VISION, "hf-hub:someone/something")
    code, problems = check(sample_recipe, *names)
    assert code == 1
    assert [problem.partition(" cannot")[0] for problem in problems] == [
        "[model.encoders.text]",
        "[model.encoders.vision]",
    ]
    assert "there is no such folder" in problems[0] and "the Hub may not be contacted" in problems[1]
    with pytest.raises(Exception, match="no such folder") as caught:
        train(
            recipe.with_overrides({names[0][2:]: names[1], names[2][2:]: names[3]}), "nowhere", device="cpu"
        )
    assert all(problem in str(caught.value) for problem in problems)
    assert not Path("nowhere").exists()


def test_several_things_that_one_folder_lacks_are_several_problems(
    sample_recipe: Path, text: Path, vision: Path
) -> None:
    (text / "tokenizer.json").unlink()
    (text / "model.safetensors").write_bytes(LFS)
    (vision / "model.safetensors").unlink()
    code, problems = check(sample_recipe, TEXT, text, VISION, vision)
    assert code == 1 and len(problems) == 3
    for problem, said in zip(
        problems, ("is a Git LFS pointer", "has no tokenizer", "has no weights"), strict=True
    ):
        assert said in problem and "\n  → " in problem


def test_parts_that_cannot_be_made_are_found_at_once(sample_recipe: Path, text: Path, vision: Path) -> None:
    """Weights of another width, and a folder of another architecture: known when both are loaded."""
    with no_bars():
        BertModel(BertConfig.from_pretrained(text, num_hidden_layers=1)).save_pretrained(text)
    config = json.loads((text / "config.json").read_text())
    (text / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    config = json.loads((vision / "config.json").read_text())
    config["model_args"]["channels"][-1] = 80
    (vision / "config.json").write_text(json.dumps(config))
    code, problems = check(sample_recipe, TEXT, text, VISION, vision)
    assert code == 1 and len(problems) == 2
    assert problems[0].startswith("[model.encoders.text]") and "lack 16 tensors of BertModel" in problems[0]
    assert problems[1].startswith("[model.encoders.vision]") and "another network's" in problems[1]


def test_settings_beyond_a_model_are_found(sample_recipe: Path) -> None:
    code, (problem,) = check(sample_recipe, "--model.encoders.text.max_length", 513)
    assert code == 1 and "takes at most 512 subwords" in problem


def test_a_network_that_takes_no_prefix_is_found(tmp_path: Path, text: Path) -> None:
    """Only a pass through the network tells; the recipe is HVPNeT's, whose fuser puts one before each layer."""
    pytest.importorskip("mmkit_hvpnet")
    config = DebertaV2Config(
        vocab_size=BertConfig.from_pretrained(text).vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    with no_bars():
        DebertaV2Model(config).save_pretrained(text)
    done = CliRunner().invoke(main, ["check", "hvpnet_twitter15", "--sample", TEXT, str(text), "--json"])
    assert done.exit_code == 1, done.output
    text_only = done.output[done.output.index("{") :]
    (problem,) = json.loads(text_only)["parts"]["problems"]
    assert "DebertaV2Model cannot use a prefix" in problem


def test_what_would_be_fetched_and_what_is_large_is_not_loaded(
    sample_recipe: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("the model was made")

    monkeypatch.setattr(made, "assemble", never)
    monkeypatch.setattr(made, "LARGE", 1000)
    assert check(sample_recipe) == (0, [])


def test_words_that_the_tokenizer_does_not_know_are_told_of(
    sample_recipe: Path, text: Path, recipe: Recipe, tmp_path: Path
) -> None:
    tokenizer = json.loads((text / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    tokenizer["model"]["vocab"] = {w if w in special else f"{w}ₓ": i for w, i in vocabulary.items()}
    (text / "tokenizer.json").write_text(json.dumps(tokenizer))
    done = CliRunner().invoke(main, ["check", str(sample_recipe), TEXT, str(text)])
    assert done.exit_code == 0
    said = "[model.encoders.text] its tokenizer does not know 100% of train's words"
    assert done.output.count(said) == 1
