"""`mmkit list-recipes`, recipes by name, and what `[about]` says of the shipped ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mmkit.cli import main
from mmkit.config.check import check
from mmkit.config.values import Problems
from mmkit.hooks import hookimpl, registered
from mmkit.recipe import load_recipe
from mmkit.recipe_names import known_recipes

MINIMAL = "[recipe]\nformat = 1\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


class Brings:
    """A plugin with a folder of recipes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @hookimpl
    def mmkit_recipe_folders(self) -> list[Path]:
        return [self.folder]


def listed() -> dict[str, dict]:
    return {recipe["name"]: recipe for recipe in json.loads(run("list-recipes", "--json").stdout)}


def test_every_known_recipe_is_listed_with_what_it_is_for() -> None:
    recipes = listed()
    assert {f"{name}.cfg" for name in recipes} == set(known_recipes())
    for recipe in recipes.values():
        assert recipe["paper"] and recipe["dataset"] and recipe["task"], recipe["name"]
        assert recipe["title"]
    assert recipes["hvpnet_twitter15"]["backbones"] == ["bert-base-uncased", "resnet50.tv_in1k"]
    table = run("list-recipes").stdout.splitlines()
    assert len(table) == len(recipes) + 1
    (line,) = (line for line in table if line.startswith("hvpnet_mnre "))
    assert line.split()[1:4] == ["relations", "MNRE", "HVPNeT"]


@pytest.mark.parametrize("name", sorted(Path(file).stem for file in known_recipes()))
def test_the_task_it_names_is_its_decoders(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.config["about"]["task"] == recipe.build("model.decoder").task.name


def test_one_recipe_of_each_paper_and_task_is_started_from() -> None:
    abouts = [load_recipe(name.removesuffix(".cfg")).config["about"] for name in known_recipes()]
    starts = [(about["paper"], about["task"]) for about in abouts if about["start"]]
    assert len(starts) == len(set(starts))
    # An image encoder's warm-up, and a twin to compare with.
    no_start = {("TESGA", "links"), ("GMNER", "entities")}
    assert set(starts) == {(about["paper"], about["task"]) for about in abouts} - no_start


def test_what_is_missing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("A_KEY", raising=False)
    text = (
        '# Mine, a recipe.\n[recipe]\nformat = 1\nrequires = ["no-such-package>=2"]\n'
        '[about]\nkeys = ["A_KEY"]\n'
        '[backbones]\ntext = "org/small"\n'
        '[data.train]\nroot = "data"\nfile = "train.jsonl"\n'
        '[annotators.a]\nindex = "indexes/x"\n'
        '[model.encoders.text]\nname = ${backbones.text}\n[model.encoders.expert]\nrun = "runs/x"\n'
    )
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.cfg").write_text(text)
    with registered(Brings(tmp_path / "recipes")):
        mine = listed()["mine"]
        assert mine["title"] == "Mine, a recipe."
        assert mine["missing"] == {
            "packages": ["no-such-package"], "data": ["data/train.jsonl"], "weights": ["org/small"],
            "runs": ["runs/x"], "indexes": ["indexes/x"], "keys": ["A_KEY"],
        }  # fmt: skip
        assert mine["hints"] == ['pip install "no-such-package"']
        for there in ("data", "indexes/x", "runs/x", "hub/models--org--small/snapshots"):
            (tmp_path / there).mkdir(parents=True)
        (tmp_path / "data" / "train.jsonl").write_text("")
        monkeypatch.setenv("A_KEY", "x")
        assert listed()["mine"]["missing"] == {"packages": ["no-such-package"]}
        table = run("list-recipes").stdout
        assert "packages: no-such-package" in table
        assert 'no-such-package: pip install "no-such-package"' in table


@pytest.mark.parametrize(
    "text", ["[recipe\n", '[recipe]\nformat = "x"\n[about]\nkeys = 3\npaper = 4\n', "\0"]
)
def test_a_recipe_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.cfg").write_text(text)
    with registered(Brings(tmp_path)):
        recipes = listed()
        assert {"odd", "hvpnet_twitter15"} <= set(recipes)
        assert run("list-recipes").exit_code == 0


def test_listing_imports_no_torch() -> None:
    program = (
        "import sys; from mmkit.start.shipped import shipped; shipped()\n"
        "print(sorted(m for m in ('torch', 'transformers', 'timm', 'huggingface_hub') if m in sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


@pytest.mark.parametrize("given", ["umt_twitter15", "umt_twitter15.cfg"])
def test_a_file_of_this_folder_wins_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = load_recipe("umt_twitter15")
    (tmp_path / "umt_twitter15.cfg").write_text(shipped.path.read_text() + "\n# mine\n")
    assert load_recipe(given).path == Path("umt_twitter15.cfg")
    said = run("check", given)
    assert "umt_twitter15.cfg: this file is used, not the recipe of this name" in said.stderr
    (tmp_path / "umt_twitter15.cfg").write_text(shipped.path.read_text())
    assert "this file is used" not in run("check", given).stderr  # they are the same


def test_a_folder_of_this_name_does_not_hide_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "umt_twitter15").mkdir()
    assert load_recipe("umt_twitter15").path.name == "umt_twitter15.cfg"


def test_a_misspelt_name_is_answered_with_near_ones() -> None:
    said = run("train", "hvpnet_twiter15")
    assert said.exit_code == 2
    assert "'hvpnet_twitter15'" in said.stderr


def test_about_is_checked() -> None:
    problems = Problems()
    check({"recipe": {"format": 1}, "about": {"papr": "x"}}, problems)
    assert any(p.path == "about.papr" and "paper" in p.hint for p in problems.found)


def test_a_whole_section_may_be_replaced_where_there_is_a_sample() -> None:
    recipe = load_recipe("hvpnet_twitter15", {"training": {"epochs": 2, "score": "spans.f1"}})
    assert recipe.training.epochs == 2
    assert recipe.training.groups == {}
    assert not any(name.startswith("training.") for name in recipe.sample_settings)
    assert "model.decoder.types" not in recipe.sample_settings
