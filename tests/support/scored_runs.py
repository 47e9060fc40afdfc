"""Run folders without a model: data, recipe, predictions and `run.json`, for what only reads results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmkit.data.fingerprints import file_sha256
from mmkit.data.jsonlines import write_jsonl
from mmkit.data.types import Entity, Example, Prediction
from mmkit.recipe import load_recipe, parse_overrides

RECIPE = """
[recipe]
format = 1
seed = 1

[data.train]
@readers = "mmkit.jsonl.v1"
root = "{root}"
file = "test.jsonl"

[data.test]
@readers = "mmkit.jsonl.v1"
root = "{root}"
file = "test.jsonl"

[model.encoders.text]
@encoders = "mmkit.transformer.v1"
name = "bert-base-uncased"

[model.fuser]
@fusers = "mmkit.text_only.v1"

[model.decoder]
{decoder}

[metrics.scores]
{metric}

[training]
"""

PARTS = {
    "spans": ('@decoders = "mmkit.crf_tagger.v1"', '@metrics = "mmkit.span_f1.v1"'),
    "relations": ('@decoders = "mmkit.pair_classifier.v1"', '@metrics = "mmkit.relation_f1.v1"'),
    "joint": ('@decoders = "mmkit.crf_tagger.v1"', '@metrics = "mmkit.joint_f1.v1"'),
    "grounded": ('@decoders = "mmkit.crf_tagger.v1"', '@metrics = "gmner.triples.v1"'),
    "links": ('@decoders = "mmkit.entity_matcher.v1"\nentities = "text"', '@metrics = "mmkit.linking.v1"'),
}
"""Kind of a run → its decoder and its metric."""

ENTITIES = """
[data.entities]
@readers = "mmkit.kb_jsonl.v1"
root = "{root}"
file = "entities.jsonl"
"""


def write_data(folder: Path, examples: Sequence[Example], entities: Sequence[Entity] = ()) -> Path:
    """`test.jsonl` and, for entities, `entities.jsonl` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "test.jsonl", examples, "examples")
    if entities:
        write_jsonl(folder / "entities.jsonl", entities, "entities")
    return folder


def write_run(
    folder: Path,
    data: Path,
    predictions: Sequence[Prediction],
    kind: str = "spans",
    figures: dict[str, float] | None = None,
    metrics: Sequence[dict[str, Any]] = (),
    **settings: str,
) -> Path:
    """A run that gave these predictions for the test split. `settings` are overrides, `__` for a dot."""
    decoder, metric = PARTS[kind]
    text = RECIPE.format(root=data, decoder=decoder, metric=metric)
    if (data / "entities.jsonl").exists():
        text = text.replace("[model.encoders.text]", ENTITIES.format(root=data) + "\n[model.encoders.text]")
    (folder / "predictions").mkdir(parents=True)
    (folder / "source.cfg").write_text(text, encoding="utf-8")
    options = [part for name, value in settings.items() for part in (f"--{name.replace('__', '.')}", value)]
    recipe = load_recipe(folder / "source.cfg").with_overrides(parse_overrides(options))
    (folder / "source.cfg").unlink()
    (folder / "recipe.cfg").write_text(recipe.to_str(), encoding="utf-8")
    write_jsonl(folder / "predictions" / "test.jsonl", predictions, "predictions")
    file = data / "test.jsonl"
    origin = {
        "records": len(predictions),
        "files": [{"file": str(file), "sha256": file_sha256(file), "variant": None}],
    }
    facts = {
        "format": 1,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "versions": {"mmkit-core": "0.1.0"},
        "status": "completed",
        "data": {"test": origin},
        **({"figures": {"test": figures}} if figures else {}),
    }
    (folder / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    lines = "".join(json.dumps(line) + "\n" for line in metrics)
    (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    return folder
