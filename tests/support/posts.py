"""Small files of posts, and a recipe of a tagger or a pair classifier that reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit.recipe import Recipe, load_recipe

RECIPE = """
[recipe]
format = 1

[data.train]
@readers = "mmkit.jsonl.v1"
root = "{root}"
file = "train.jsonl"

[data.dev]
@readers = "mmkit.jsonl.v1"
root = "{root}"
file = "dev.jsonl"

[model.encoders.text]
@encoders = "mmkit.transformer.v1"
name = "no-such-model"
{vision}
[model.fuser]
@fusers = "{fuser}"

[model.decoder]
@decoders = "{decoder}"

[metrics.found]
@metrics = "{metric}"

[training]
epochs = 1
score = "found.f1"
"""

VISION = """
[model.encoders.vision]
@encoders = "mmkit.timm.v1"
name = "resnet18"
objects = 1
"""

TAGGER = {"decoder": "mmkit.crf_tagger.v1", "metric": "mmkit.span_f1.v1"}
CLASSIFIER = {"decoder": "mmkit.pair_classifier.v1", "metric": "mmkit.relation_f1.v1"}

MARA, LISBON = {"start": 2, "end": 4, "label": "PER"}, {"start": 5, "end": 6, "label": "LOC"}
"""Spans of `post`."""


def post(
    number: int, *more: Mapping[str, Any], spans: Sequence[Mapping[str, Any]] = (MARA, LISBON), **fields: Any
):
    """Post `number`, whose spans are `spans` and `more`."""
    tokens = ["look", "at", "Mara", "Okafor", "in", "Lisbon", str(number)]
    return {"id": f"post{number}", "tokens": tokens, "spans": [*spans, *more], **fields}


def pair(number: int, label: str | None, **fields: Any) -> dict[str, Any]:
    """Post `number` with a relation from Mara to Lisbon."""
    relation = {"head": MARA, "tail": LISBON} | ({} if label is None else {"label": label})
    return post(number, spans=(), relations=[relation], **fields)


def write_posts(folder: Path, name: str, posts: Sequence[Mapping[str, Any]]) -> None:
    """Write posts as canonical jsonlines; the first stands in line 2."""
    lines = [{"format": 1, "kind": "examples"}, *posts]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def recipe_of(
    folder: Path,
    train: Sequence[Mapping[str, Any]],
    dev: Sequence[Mapping[str, Any]],
    overrides: Mapping[str, Any] | None = None,
    *,
    pictures: bool = False,
    parts: Mapping[str, str] = TAGGER,
) -> Recipe:
    """A recipe for these posts, which are written into `folder`."""
    write_posts(folder, "train", train)
    write_posts(folder, "dev", dev)
    fuser = "mmkit.concat.v1" if pictures else "mmkit.text_only.v1"
    text = RECIPE.format(root=folder.as_posix(), vision=VISION if pictures else "", fuser=fuser, **parts)
    (folder / "own.cfg").write_text(text, encoding="utf-8")
    return load_recipe(folder / "own.cfg", overrides or {})
