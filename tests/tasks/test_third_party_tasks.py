"""Packages of third parties that bring a task with boxes, and a decoder that generates: the core knows neither."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from json_schema import violations
from mmkit.data.jsonl import read_jsonl
from mmkit.data.types import Example
from packages import install, mmkit

pytestmark = pytest.mark.matrix


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("third-party-tasks")


def trained(name: str, recipe: str, folder: Path) -> Path:
    """A folder in which a package's recipe was trained on its sample as `run`; the package is in `site` there."""
    site = install(name, folder / name / "site")
    done = mmkit(
        "train",
        recipe,
        "--sample",
        "--quiet",
        "--device",
        "cpu",
        "--output",
        "run",
        site=site,
        cwd=site.parent,
    )
    assert done.returncode == 0, done.stderr
    return site.parent


@pytest.fixture(scope="module")
def grounded(folder: Path) -> Path:
    return trained("grounded", "grounded_posts", folder)


def predict(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return mmkit("predict", "run", *arguments, "--device", "cpu", site=folder / "site", cwd=folder)


def photo(folder: Path) -> str:
    """A photo whose name is on the right."""
    posts = read_jsonl(folder / "test.jsonl", "examples", str(folder))
    return next(
        str(post.images[0].path) for post in posts if isinstance(post, Example) and "right" in post.tokens
    )


def sample_of(folder: Path) -> Path:
    recipe = (folder / "run" / "recipe.cfg").read_text(encoding="utf-8")
    return Path(next(line for line in recipe.splitlines() if line.startswith("root")).split('"')[1])


def test_boxes_are_learnt_and_saved(grounded: Path) -> None:
    figures = json.loads((grounded / "run/run.json").read_text(encoding="utf-8"))["figures"]["test"]
    assert figures["spans.f1"] > 0.9
    assert figures["boxes.iou"] > 0.5  # a box in the middle of all of them has at most 0.33
    saved = list(read_jsonl(grounded / "run/predictions/test.jsonl", "predictions"))
    assert any(span.regions for prediction in saved for span in prediction.spans)  # type: ignore[union-attr]


def test_a_third_party_s_answer_is_told_and_has_a_schema(grounded: Path) -> None:
    data = sample_of(grounded)
    asked = ["--text", "look at Jordan on the right !", "--image", photo(data)]
    told = predict(grounded, *asked)
    assert told.returncode == 0, told.stderr
    assert f"Jordan in {photo(data)} at " in told.stdout
    answer = json.loads(predict(grounded, *asked, "--json").stdout)
    (found,) = answer["grounded"]
    left, top, right, bottom = found["place"]["box"]
    assert 0 <= left < right <= 64 and 0 <= top < bottom <= 64
    assert left > 24, "it is on the right"
    schema = json.loads(predict(grounded, "--schema").stdout)
    assert list(violations(answer, schema)) == []
    blind = json.loads(predict(grounded, "--text", "look at Jordan on the left !", "--json").stdout)
    assert blind["grounded"][0]["place"] is None
    assert list(violations(blind, schema)) == []


def test_a_third_party_s_input_is_an_option(grounded: Path) -> None:
    shown = predict(grounded, "--help").stdout
    assert "--only TEXT" in shown and "A type to look for; may be repeated." in shown
    assert "--head" not in shown and "--mention" not in shown
    asked = ["--text", "look at Jordan on the right !", "--image", photo(sample_of(grounded)), "--json"]
    (label,) = {found["words"]["label"] for found in json.loads(predict(grounded, *asked).stdout)["grounded"]}
    others = {"PER", "ORG"} - {label}
    assert json.loads(predict(grounded, *asked, "--only", *others).stdout)["grounded"] == []
    assert json.loads(predict(grounded, *asked, "--only", label).stdout)["grounded"]
    misspelt = predict(grounded, *asked, "--onyl", label)
    assert misspelt.returncode == 2 and "--only" in misspelt.stderr
    wrong = predict(grounded, *asked, "--mention", "Jordan")
    assert wrong.returncode == 2 and "links no mentions" in wrong.stderr


def test_check_and_describe_know_the_task(grounded: Path) -> None:
    done = mmkit("check", "grounded_posts", "--sample", "--json", site=grounded / "site", cwd=grounded)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test"]["labels"]["spans"].keys() == {"PER", "ORG"}
    about = mmkit("describe", "grounded.tagger.v1", "--json", site=grounded / "site", cwd=grounded)
    task = json.loads(about.stdout)["task"]
    assert task["name"] == "grounded entities" and [i["option"] for i in task["inputs"]] == ["--only"]


def test_a_decoder_may_write_its_answer(folder: Path) -> None:
    """`loss` and `decode` compute with the text encoder's embeddings."""
    generating = trained("generating", "generating_tweets", folder)
    figures = json.loads((generating / "run/run.json").read_text(encoding="utf-8"))["figures"]["test"]
    assert figures["spans.f1"] > 0.3  # only photos tell the types of most names
    done = predict(generating, "--split", "test", "--limit", "20", "--json")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 20 and any(answer["entities"] for answer in answers)
