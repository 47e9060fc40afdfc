"""The start of `mmkit predict`: one sentence, beside importing only what its model needs.

    python benchmarks/start.py [--rounds 5]

A sample run on text alone and one of HVPNeT each predict one sentence in a new process. The limit is a process that
imports torch and the model's own modules, and does nothing: `transformers`' module of BERT and, for HVPNeT, timm.
Both take turns. Times are CPU seconds (of user and system) on one thread, medians of the rounds; Python's compiled
files are there. Results are printed and written to `benchmarks/results/start.json`.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common import report

import mmkit

BERT = "transformers.models.bert.modeling_bert"
MODULES = {"text_only_twitter15": ("torch", BERT), "hvpnet_twitter15": ("torch", BERT, "timm")}
"""Recipe → the modules that the model is made of."""
TEXT = "look at Jordan !"


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    rounds = options.parse_args().rounds
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for recipe, modules in MODULES.items():
            run = Path(folder) / recipe
            mmkit.train(mmkit.sampled(recipe), {"training.epochs": 1}, output=run, device="cpu")
            sides = {
                "torch": ["-c", "import torch"],
                "limit": ["-c", f"import {', '.join(modules)}"],
                "predict": ["-m", "mmkit", "predict", str(run), "--text", TEXT, "--device", "cpu"],
            }
            for arguments in sides.values():
                seconds(arguments)  # to warm up
            times = {side: [seconds(arguments)] for side, arguments in sides.items()}
            for _ in range(rounds - 1):
                for side, arguments in sides.items():
                    times[side].append(seconds(arguments))
            found = {side: statistics.median(taken) for side, taken in times.items()}
            row = {f"{side}, s": taken for side, taken in found.items()}
            rows.append({"recipe": recipe, **row, "predict : limit": found["predict"] / found["limit"]})
    report("start", rows, rounds=rounds, text=TEXT, modules=MODULES)


def seconds(arguments: Sequence[str]) -> float:
    """The CPU seconds of a new Python process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
