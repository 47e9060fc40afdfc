"""Shared by the trackers' tests: a small recipe on its sample, and the environment without the user's own settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

import mmkit

READER = {"@readers": "mmkit.conll_images.v1", "root": "data"}
TAGGER: dict[str, Any] = {
    "recipe": {"format": 1},
    "data.train": {**READER, "file": "train.txt"},
    "data.dev": {**READER, "file": "valid.txt"},
    "data.test": {**READER, "file": "test.txt"},
    "model.encoders.text": {"@encoders": "mmkit.transformer.v1", "name": "bert-base-uncased"},
    "model.fuser": {"@fusers": "mmkit.text_only.v1"},
    "model.decoder": {"@decoders": "mmkit.crf_tagger.v1"},
    "metrics.spans": {"@metrics": "mmkit.span_f1.v1"},
    "training": {"score": "spans.f1"},
}
"""A tagger that needs no other plugin."""


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server, key or folder of the user's, and what a library sets is unset again."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    for name in ("WANDB_ERROR_REPORTING", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.setenv(name, "false" if name.startswith("WANDB") else "true")


@pytest.fixture
def recipe() -> Callable[..., mmkit.Recipe]:
    """A function that gives the recipe with trackers, two epochs long, and settings of `[training]`."""

    def load(*trackers: str, **training: object) -> mmkit.Recipe:
        settings = {
            "epochs": 2,
            "log_every": 3,
            "eval_from": 1,
            "learning_rate": 3e-3,
            "trackers": [*trackers],
        }
        overrides = {f"training.{name}": value for name, value in {**settings, **training}.items()}
        return mmkit.sampled(TAGGER).with_overrides(overrides)

    return load
