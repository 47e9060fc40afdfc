"""Third-party packages with parts that the core does not have: another kind of media, views, entity photos.

The table "To add X, touch these files" in docs/plugins.md names them; tests/tasks has the others.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from packages import install, mmkit

pytestmark = pytest.mark.matrix


def scores(name: str, recipe: str, folder: Path, *overrides: str) -> dict[str, float]:
    """Scores of the test split, of a package's recipe trained on its sample."""
    site = folder / "site"
    if not site.exists():
        install(name, site)
    run = f"run{len(overrides)}"
    command = ["train", recipe, "--sample", "--quiet", "--device", "cpu", "--output", run, *overrides]
    done = mmkit(*command, site=site, cwd=folder)
    assert done.returncode == 0, done.stderr
    facts = json.loads((folder / run / "run.json").read_text(encoding="utf-8"))
    found: dict[str, float] = facts["figures"]["test"]
    return found


def test_recordings_are_heard(tmp_path: Path) -> None:
    heard = scores("listening", "listening_posts", tmp_path)["spans.f1"]
    deaf = ["--model.encoders.sound.deaf", "true"]
    assert heard > 0.9
    assert scores("listening", "listening_posts", tmp_path, *deaf)["spans.f1"] < heard - 0.25


def test_a_text_is_read_in_three_views(tmp_path: Path) -> None:
    found = scores("views", "three_views", tmp_path)
    assert found["spans.f1"] > 0.4  # the sample's types are told by photos, which this recipe does not read
    forgotten = mmkit(
        "train",
        "three_views",
        "--sample",
        "--model.encoders.text.extra_views",
        '["lower"]',
        site=tmp_path / "site",
        cwd=tmp_path,
    )
    assert forgotten.returncode == 2 and "backwards" in forgotten.stderr


def test_photos_of_entities_tell_them_apart(tmp_path: Path) -> None:
    found = scores("photographed", "photographed_places", tmp_path)
    assert found["linking.kb_top1"] > 0.8
    blank = scores("photographed", "photographed_places", tmp_path, "--data.entities.blank_images", "true")
    assert blank["linking.kb_top1"] < found["linking.kb_top1"] - 0.25
