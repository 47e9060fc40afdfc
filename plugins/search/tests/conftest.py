"""A recipe that trains in two seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

import mmkit


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of relations that reads texts alone, on sample data."""
    settings = {"training.epochs": 3, "training.eval_from": 1, "training.learning_rate": 3e-3}
    path = tmp_path_factory.mktemp("recipe") / "small.cfg"
    text = mmkit.sampled("text_only_mnre").with_overrides(settings).to_str()
    path.write_text(text.partition("[sample]")[0], encoding="utf-8")
    return path
