"""Every recipe that comes with mmkit, trained on its sample to the end, and the documentation's table of them.

The trainings take minutes, so they run only where they are asked for: `make matrix`.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmkit.data.jsonl import read_jsonl
from mmkit.loading.sample import sampled
from mmkit.recipe import load_recipe
from mmkit.recipe_names import known_recipes
from mmkit.runs.folder import COMPLETE, Run
from mmkit.training.train import train

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = {f.stem: f for files in known_recipes().values() for f in files if f.is_relative_to(ROOT)}

FLOORS = {
    "mmkit.span_f1.v1": ("f1", 0.5),
    "mmkit.relation_f1.v1": ("f1", 0.5),
    "mmkit.joint_f1.v1": ("quintuple_f1", 0.8),
    "tesga.joint_f1.v1": ("quintuple_f1", 0.8),
    "mmkit.linking.v1": ("top1", 0.75),
    "gmner.triples.v1": ("gmner_f1", 0.75),
}
"""A figure of each metric, and what it comes to at least with pictures or contexts."""

ALONE = 0.25
"""What it comes to at least by the sentence alone, which leaves open which of four things a name stands for.

A network that learned nothing does not find the names.
"""


def by_sentence_alone(recipe: str) -> bool:
    """Whether the recipe leaves out what decides in the sample: a twin, or one whose model a stand-in replaces."""
    return recipe.startswith(("text_only_", "vlm_")) or recipe.endswith(("_baseline", "_none"))


@pytest.fixture(scope="module", autouse=True)
def one_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all processes, so that each sample, index and stored feature is made once."""
    base = tmp_path_factory.getbasetemp()
    session = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMKIT_CACHE", str(session / "matrix-cache"))
        yield


@pytest.mark.matrix
@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_recipe_trains_on_its_sample_to_the_end(name: str, tmp_path: Path) -> None:
    recipe = sampled(load_recipe(SHIPPED[name]))
    figures = train(recipe, tmp_path / "run", device="cpu", quiet=True)["figures"]["test"]

    run = Run(tmp_path / "run")
    facts = run.facts()
    assert facts["status"] in COMPLETE
    assert facts["recipe"] == name
    assert facts["figures"]["test"] == figures
    assert run.weights_file.is_file()
    logged = [json.loads(line) for line in run.metrics_file.read_text(encoding="utf-8").splitlines()]
    assert [line["split"] for line in logged].count("test") == 1
    predicted = [p.id for p in read_jsonl(run.folder / "predictions/test.jsonl")]
    units = [unit.id for x in recipe.build("data.test") for unit in run.model().decoder.units(x)]
    assert predicted == units

    for metric in recipe.parts("metrics"):
        figure, floor = FLOORS[recipe.part(f"metrics.{metric}", "metrics")]
        assert figures[f"{metric}.{figure}"] >= (ALONE if by_sentence_alone(name) else floor), figures


def cells(column: str) -> list[str]:
    """The recipes that a column of the documentation's table names."""
    lines = (ROOT / "docs" / "recipes_shipped.md").read_text(encoding="utf-8").splitlines()
    header = next(line for line in lines if line.startswith("| paper |"))
    at = [cell.strip() for cell in header.split("|")].index(column)
    table = lines[lines.index(header) + 2 :]
    rows = table[: next(i for i, line in enumerate(table) if not line.startswith("|"))]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[at])]


def test_the_documentation_names_every_recipe_once() -> None:
    named, twins = Counter(cells("recipe")), set(cells("text-only twin"))
    assert {name for name, count in named.items() if count > 1} == set()
    assert not twins & set(named), "a recipe is one or the other"
    assert {*named, *twins} == set(SHIPPED)
