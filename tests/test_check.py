"""`mmkit check`: what is in the data and what is wrong with it, on published files too."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from click.testing import CliRunner

from mmkit.checking.check import lacking
from mmkit.cli import main
from mmkit.data.fingerprints import MISTAKEN, file_sha256
from mmkit.loading.annotation import Annotation
from mmkit.recipe import Recipe, load_recipe


def check(*arguments: str):
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


def test_a_sound_recipe(sample_recipe):
    done = check(sample_recipe, "--json", "--decode")
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert list(report) == ["train", "dev", "test"]
    assert report["train"]["records"] == 320 and report["train"]["problems"] == []
    assert report["test"]["labels"]["spans"].keys() == {"PER", "LOC", "ORG", "OTHER"}
    assert report["train"]["files"][0]["variant"] is None
    shown = check(sample_recipe).output
    assert "unknown variant" in shown and "files, all readable" in shown
    assert "OTHER" in shown and shown.endswith("ready to train\n")


def test_a_published_file_that_is_known_to_be_wrong_is_named(sample_recipe, monkeypatch):
    data = load_recipe(sample_recipe).config["data"]["dev"]
    dev = file_sha256(f"{data['root']}/{data['file']}")[:12]
    monkeypatch.setitem(MISTAKEN, dev, ("it holds the posts of the test set", "take another"))
    done = check(sample_recipe)
    told = done.output[done.output.index("valid.txt (None)") :]
    assert "it holds the posts of the test set" in told and "take another" in told
    assert done.output.count("it holds the posts") == 1 and done.exit_code == 0
    report = json.loads(check(sample_recipe, "--json").output)
    assert [len(report[split]["warnings"]) for split in ("train", "dev", "test")] == [0, 1, 0]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [("model.fuser.text", "words", "encoder named 'words'"), ("training.score", "spans.f2", "spans.f2")],
)
def test_parts_that_do_not_fit_and_a_score_of_no_metric_are_found(sample_recipe, setting, value, message):
    done = check(sample_recipe, f"--{setting}", value)
    assert done.exit_code == 2 and message in done.output


def test_pictures_in_another_place_are_said_once(sample_recipe, tmp_path):
    overrides = [
        x for name in ("train", "dev", "test") for x in (f"--data.{name}.images", tmp_path / "a/../b")
    ]
    shown = check(sample_recipe, *overrides).output
    assert "is --data.dev.images right?" in shown
    assert shown.endswith("3 problems to fix\n")
    missing = [word for word in shown.split() if word.startswith(str(tmp_path / "b"))]
    assert len(missing) == len(set(missing)) == 9


def test_missing_empty_and_broken_pictures_are_found(sample_recipe, tmp_path):
    recipe = load_recipe(sample_recipe)
    shutil.copytree(recipe.config["data"]["train"]["root"], tmp_path / "data")
    images = sorted((tmp_path / "data" / recipe.config["data"]["test"]["images"]).iterdir())
    images[0].unlink()
    images[1].write_bytes(b"")
    images[2].write_bytes(b"no picture at all")
    images[3].write_bytes(images[3].read_bytes()[:600])
    roots = [x for name in ("train", "dev", "test") for x in (f"--data.{name}.root", tmp_path / "data")]
    done = check(sample_recipe, *roots, "--decode")
    assert done.exit_code == 1
    assert images[0].name in done.output and "problem" in done.output
    report = json.loads(check(sample_recipe, *roots, "--decode", "--json").output)
    counts = [split["images"] for split in report.values()]
    assert sum(c["missing"] for c in counts) == 1
    assert sum(c["empty"] for c in counts) == 1
    assert sum(c["broken"] for c in counts) == 2
    blanked = check(sample_recipe, *roots, "--data.missing_images", "blank")
    assert blanked.exit_code == 0 and "warning" in blanked.output


def test_labels_that_train_never_shows_and_leaks_are_warned_of(sample_recipe, tmp_path):
    recipe = load_recipe(sample_recipe)
    shutil.copytree(recipe.config["data"]["train"]["root"], tmp_path / "data")
    config = recipe.config["data"]
    train = (tmp_path / "data" / config["train"]["file"]).read_text()
    (tmp_path / "data" / config["test"]["file"]).write_text(train.replace("-PER", "-GOD"))
    done = check(sample_recipe, "--data.test.root", tmp_path / "data")
    assert "train never shows: GOD" in done.output
    assert "320 sentences are also in train" in done.output


def test_a_missing_file_says_where_the_data_comes_from(tmp_path):
    done = check("hvpnet_twitter15", "--paths.data", tmp_path)
    assert done.exit_code == 1
    assert "train.txt" in done.output and "https://github.com" in done.output


@pytest.mark.real_data
def test_published_files_are_named(shared):
    report = json.loads(
        check("hvpnet_twitter15", "--paths.data", shared / "data/twitter2015", "--json").output
    )
    backbones = report.pop("parts")["problems"]
    assert [problem.split()[0] for problem in backbones] == [
        "[model.encoders.text]",
        "[model.encoders.vision]",
    ]
    assert all(
        "it is not on this machine, and the Hub may not be contacted" in problem for problem in backbones
    )
    assert [split["records"] for split in report.values()] == [4000, 1000, 3257]
    assert report["test"]["labels"]["spans"] == {"PER": 1873, "LOC": 1720, "ORG": 860, "MISC": 754}
    assert report["train"]["tokens"] == 64439
    assert all("original" in split["files"][0]["variant"] for split in report.values())
    assert report["train"]["images"]["missing"] == 4000
    mnre = json.loads(check("hvpnet_mnre", "--paths.data", shared / "data/mnre", "--json").output)
    del mnre["parts"]
    assert [split["records"] for split in mnre.values()] == [12247, 1624, 1614]
    assert sum(split["labels"]["relations"]["None"] for split in mnre.values()) == 9718
    assert "MNRE" in mnre["test"]["files"][0]["variant"]


def test_runs_that_a_recipe_builds_on_have_to_be_there(sample_recipe, tmp_path):
    text = sample_recipe.read_text(encoding="utf-8")
    run = tmp_path / "nowhere"
    section = f'[model.encoders.text]\n@encoders = "mmkit.run.v1"\nrun = "{run}"\nrecipe = "own"\n\n'
    changed = re.sub(r"\[model\.encoders\.text\].*?(?=\n\[)", section, text, flags=re.DOTALL)
    other = tmp_path / "other.cfg"
    other.write_text(changed, encoding="utf-8")
    problems = what_lacks(load_recipe(other))
    assert len(problems) == 1 and problems[0].startswith("[model.encoders.text]")
    assert f"mmkit train own --output {run}" in problems[0]
    assert what_lacks(load_recipe(sample_recipe)) == []


def what_lacks(recipe: Recipe) -> list[str]:
    """Of parts that need not fit together."""
    encoders = {f"model.encoders.{name}": recipe.build(f"model.encoders.{name}") for name in ("text",)}
    return lacking({**encoders, **Annotation.of(recipe).sections})
