"""Runs that an address names: a plugin turns it into a folder, wherever a user may name a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mmkit
from mmkit.cli import main
from mmkit.errors import RunError
from mmkit.hooks import hookimpl, registered
from mmkit.runs.opening import address_of, open_run
from raising import raises


class Bucket:
    """A plugin that opens `s3://...`, and counts how often."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[str]()

    @hookimpl
    def mmkit_open_run(self, address: str) -> Path | None:
        if not address.startswith("s3://"):
            return None
        self.asked.append(address)
        if address == "s3://nothing":
            raise RunError("the bucket has no such run", where=address, code="s3.absent")
        return self.folder


@pytest.fixture
def bucket(tagger: Path):
    plugin = Bucket(tagger)
    with registered(plugin):
        yield plugin


def command(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


@pytest.mark.parametrize(
    ("run", "address"),
    [
        ("hf://user/name@main", "hf://user/name@main"),
        (Path("hf://user/name"), "hf://user/name"),  # a Path keeps one slash
        ("HF://user/name", "hf://user/name"),
        ("runs/demo", ""),
        ("/runs/demo", ""),
        ("C:/runs/demo", ""),
        ("hf:///user", ""),
        ("", ""),
    ],
)
def test_what_is_an_address(run, address):
    assert address_of(run) == address


def test_a_folder_with_a_colon_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hf:" / "mine").mkdir(parents=True)
    assert open_run("hf:/mine") == Path("hf:/mine")


def test_an_address_loads_and_predicts_as_the_folder(bucket, tagger):
    answer = mmkit.load("s3://bucket/run", device="cpu").predict("look at Jordan !")
    assert answer == mmkit.load(tagger, device="cpu").predict("look at Jordan !")
    assert bucket.asked == ["s3://bucket/run"]


def test_a_command_opens_an_address_once(bucket):
    done = command("predict", "s3://bucket/run", "--text", "look at Jordan !", "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    assert bucket.asked == ["s3://bucket/run"]


def test_options_of_the_task_come_from_the_address(bucket):
    done = command("predict", "s3://bucket/run", "--help")
    assert "A run may have options of its own" not in done.output  # they are known
    assert bucket.asked == ["s3://bucket/run"]


def test_results_are_not_written_into_it(bucket, tmp_path):
    refused = command("evaluate", "s3://bucket/run", "--device", "cpu", "--quiet")
    assert refused.exit_code == 2 and "run.no-output" in refused.output
    with raises("run.no-output"):
        mmkit.evaluate("s3://bucket/run", device="cpu")
    assert bucket.asked == []
    output = tmp_path / "scores"
    done = command("evaluate", "s3://bucket/run", "--device", "cpu", "--quiet", "--output", output)
    assert done.exit_code == 0, done.output
    assert (output / "predictions/test.jsonl").is_file() and bucket.asked == ["s3://bucket/run"]


def test_the_plugins_own_error_is_shown(bucket):
    done = command("predict", "s3://nothing", "--text", "x")
    assert done.exit_code == 2 and "the bucket has no such run" in done.output and "s3.absent" in done.output


def test_without_a_plugin_the_message_says_which_package(monkeypatch):
    from mmkit.config import packages

    monkeypatch.setattr(packages, "is_installed", lambda package: False)
    monkeypatch.setattr("mmkit.hooks.manager", lambda: Nobody)
    with raises("run.address", match="hf://") as caught:
        open_run("hf://user/name@abc")
    assert "plugins/hub" in str(caught.value)
    with raises("run.address", match="gs://") as caught:
        mmkit.load("gs://bucket/run")
    assert "mmkit_open_run" in str(caught.value)


class Nobody:
    """A plugin manager without plugins."""

    class hook:  # noqa: N801 - as pluggy names it
        @staticmethod
        def mmkit_open_run(address: str) -> None:
            return None


def test_what_a_recipe_names_is_not_opened(bucket, sample_recipe, tmp_path):
    recipe = mmkit.load_recipe(sample_recipe, {"training.init_from": "s3://bucket/run"})
    with pytest.raises(RunError):
        mmkit.train(recipe, output=tmp_path / "run", device="cpu")
    assert bucket.asked == []
