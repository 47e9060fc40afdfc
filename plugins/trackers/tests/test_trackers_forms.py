"""Names and tables in the forms that trackers take, and packages that are not there."""

from __future__ import annotations

import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkit_trackers import needs
from mmkit_trackers.forms import flat, markdown_table
from mmkit_trackers.hooks import mmkit_trackers
from mmkit_trackers.mlflow import key
from raising import raises


@given(st.text())
def test_mlflow_takes_every_name(name: str) -> None:
    taken = key(f"dev/spans.f1.{name}")
    assert (
        re.fullmatch(r"[\w\-./ ]+", taken)
        and posixpath.normpath(taken) == taken
        and not taken.startswith("/")
    )


def test_names_that_mlflow_takes_stay() -> None:
    assert key("dev/spans.f1.PER") == "dev/spans.f1.PER"
    assert key("dev/relations.f1./per/org/member_of") == "dev/relations.f1./per/org/member_of"
    assert key("dev/x.a/../../b") == "dev-2f-x.a-2f-..-2f-..-2f-b"


def test_settings_are_texts_by_dotted_name() -> None:
    config = {
        "training": {"epochs": 2, "groups": {}, "betas": [0.9, 0.999]},
        "model": {"decoder": {"@decoders": "x"}},
    }
    assert dict(flat(config)) == {
        "training.epochs": "2",
        "training.groups": "{}",
        "training.betas": "[0.9, 0.999]",
        "model.decoder.@decoders": "x",
    }


def test_a_table_shows_markdown_and_follows_none() -> None:
    table = markdown_table(["a", "b"], [["<b>|[x](y)\nnext", 0.5], [None, 3]])
    assert table.splitlines() == [
        "| a | b |",
        "|---|---|",
        r"| \<b\>\|\[x\](y)<br>next | 0.5000 |",
        "|  | 3 |",
    ]


@pytest.mark.parametrize("name", mmkit_trackers())
def test_what_is_not_installed_is_said_with_its_extra(name, monkeypatch):
    module, _, kind = mmkit_trackers()[name].partition(":")
    tracker = getattr(__import__(module, fromlist=[kind]), kind)
    monkeypatch.setattr(needs, "find_spec", lambda module: None)
    with raises("trackers.package", match=rf"plugins/trackers\[{name}\]"):
        tracker.check_there()


def test_a_folder_of_the_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "no_such_tracker_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with raises("trackers.package", match="no_such_tracker_package"):
        needs.need("no_such_tracker_package", "wandb")
