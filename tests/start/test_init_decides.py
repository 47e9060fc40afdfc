"""`mmkit init`: what it decides and says, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from initialized import refused, started
from mmkit.cli import main
from mmkit.recipe import load_recipe
from own_folders import by_tokens, draw, jsonl, posts


def test_missing_pictures_are_blank_and_counted(here: Path) -> None:
    jsonl(here / "mine" / "posts.jsonl", map(by_tokens, posts()))
    draw(here / "mine" / "photos", 57)
    recipe, said = started("mine")
    assert "pictures are missing for 3 of 60 posts" in said
    assert recipe.config["data"]["missing_images"] == "blank"
    assert "3 of 60 posts lack pictures" in Path("mine.cfg").read_text()


def test_no_picture_at_all(here: Path) -> None:
    jsonl(here / "mine" / "posts.jsonl", map(by_tokens, posts()))
    said = refused("mine", "--paper", "hvpnet")
    assert "no pictures found" in said
    assert "60 of 60 posts" in said
    assert "--paper text-only" in said
    assert "the model is that of text-only" in started("mine")[1]


@pytest.mark.parametrize(
    ("paper", "said"),
    [("dwe", "your data are for entities"), ("hvpnett", "'hvpnet'"), ("dim", "papers for entities: hvpnet")],
)
def test_papers_that_do_not_fit(here: Path, paper: str, said: str) -> None:
    jsonl(here / "mine" / "posts.jsonl", map(by_tokens, posts()))
    draw(here / "mine" / "photos")
    assert said in refused("mine", "--paper", paper)


@pytest.mark.parametrize("paper", ["hvpnet", "tesga", "umt", "text-only", "HVPNeT"])
def test_papers_for_entities(here: Path, paper: str) -> None:
    jsonl(here / "mine" / "posts.jsonl", map(by_tokens, posts()))
    draw(here / "mine" / "photos")
    recipe, _ = started("mine", "--paper", paper)
    assert recipe.build("model.decoder").task.name == "entities"


def test_the_output_is_not_replaced(here: Path) -> None:
    jsonl(here / "mine" / "posts.jsonl", map(by_tokens, posts()))
    (here / "mine.cfg").write_text("precious")
    assert "exists already" in refused("mine")
    assert (here / "mine.cfg").read_text() == "precious"


def test_folders_without_data(here: Path) -> None:
    (here / "empty").mkdir()
    assert "this folder is empty" in refused("empty")
    draw(here / "photos", 2)
    assert "only pictures" in refused("photos")
    assert "no such file or folder" in refused("nowhere")
    (here / "prose").mkdir()
    (here / "prose" / "notes.txt").write_text("Dear diary,\nthis is no data.\n")
    assert "no file holds data that a reader knows: notes.txt" in refused("prose")
    (here / "hollow").mkdir()
    (here / "hollow" / "train.jsonl").touch()
    assert "a reader knows: train.jsonl, with nothing in it" in refused("hollow")
    assert not list(here.glob("*.cfg"))


def test_files_that_are_not_used_are_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jsonl(here / "mine" / "train.jsonl", map(by_tokens, posts()))
    (here / "mine" / "test.jsonl").touch()
    for number in range(8):
        (here / "mine" / f"{number}.md").write_text("Dear diary,\nthis is no data.\n")
    package = here / "site" / "other-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[mmkit_readers]\nother.broken.v1 = no_such_module:Reader\n")
    monkeypatch.syspath_prepend(package.parent)
    _, said = started("mine")
    assert "not used: test.jsonl, with nothing in it" in said
    assert "not used: 0.md, 1.md, 2.md and 2 more, of no known format" in said
    assert "not used: 5.md, 6.md, 7.md, not opened: 5 files beside them" in said
    assert "not used: the reader other.broken.v1 (cannot be loaded from package other 1.0" in said


def test_a_file_that_is_cut_off(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "posts.jsonl").write_text(
        '{"tokens": ["a"], "spans": [{"start": 0, "end": 5, "label": "X"}]}\n'
    )
    assert "posts.jsonl:1" in refused("mine")


def test_several_formats_and_several_files(here: Path) -> None:
    jsonl(here / "mine" / "a.jsonl", map(by_tokens, posts()))
    jsonl(here / "mine" / "b.jsonl", map(by_tokens, posts()))
    said = refused("mine")
    assert "2 files hold data" in said
    assert "a.jsonl" in said and "b.jsonl" in said
    (here / "mine" / "b.jsonl").write_text("we\tO\nsaw\tO\nJordan\tB-PER\n\n" * 3)
    assert "data in 2 formats" in refused("mine")
    assert started("mine/a.jsonl")[0].config["data"]["train"]["file"] == "a.jsonl"
    assert started("mine", "--reader", "jsonl")[0].config["data"]["train"]["file"] == "a.jsonl"


def test_on_a_terminal_it_asks(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jsonl(here / "mine" / "a.jsonl", map(by_tokens, posts()))
    jsonl(here / "mine" / "b.jsonl", map(by_tokens, posts()[:30]))
    monkeypatch.setattr("mmkit.cli.init._is_terminal", lambda: True)
    said = CliRunner().invoke(main, ["init", "mine", "--paper", "text-only"], input="7\n2\n")
    assert said.exit_code == 0, said.output
    assert load_recipe("mine.cfg").config["data"]["train"]["file"] == "b.jsonl"


def test_nothing_is_annotated(here: Path) -> None:
    jsonl(here / "mine" / "posts.jsonl", ({"text": p.text} for p in posts()))
    assert "none of the 60 posts is annotated" in refused("mine")


def test_too_few_posts_to_split(here: Path) -> None:
    jsonl(here / "mine" / "posts.jsonl", map(by_tokens, posts()[:1]))
    assert "too few annotated posts" in refused("mine", "--paper", "text-only")


def test_only_test_data(here: Path) -> None:
    jsonl(here / "mine" / "test.jsonl", map(by_tokens, posts()))
    assert "there is data for test, but none to train on" in refused("mine")


def test_other_scripts_get_a_multilingual_encoder(here: Path) -> None:
    lines = [
        {"tokens": ["我", "在", "巴黎", str(i)], "spans": [{"start": 2, "end": 3, "label": "LOC"}]}
        for i in range(60)
    ]
    jsonl(here / "mine" / "posts.jsonl", lines)
    recipe, said = started("mine")
    assert recipe.config["model"]["encoders"]["text"]["name"] == "bert-base-multilingual-cased"
    assert "most letters are not Latin" in said
