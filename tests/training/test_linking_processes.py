"""In-batch negatives are the whole batch's, however many processes share it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mmkit.loading.sample import sampled
from mmkit.recipe import load_recipe

CHILD = """
import sys
from mmkit.recipe import load_recipe
from mmkit.training.train import train

train(load_recipe(sys.argv[1]), sys.argv[2], device="cpu", quiet=True)
"""


@pytest.fixture(scope="module")
def child(tmp_path_factory) -> Path:
    script = tmp_path_factory.mktemp("child") / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    return script


def trained(child: Path, recipe: Path, output: Path, processes: int) -> Path:
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *(several if processes > 1 else []), str(child), str(recipe), str(output)]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    return output


@pytest.mark.matrix
@pytest.mark.parametrize("loss", ["n_pair", "clip"])
def test_two_processes_make_the_updates_of_one(loss, child, tmp_path):
    recipe = sampled(load_recipe("text_only_wikimel")).with_overrides(
        {
            "training.epochs": 2,
            "training.batch_size": 15,  # shares of 8 and 7
            "training.learning_rate": 1e-3,
            "model.fuser.dropout": 0.0,
            "model.decoder.loss": loss,
            "model.decoder.negatives": "batch",
        }
    )
    path = tmp_path / "recipe.cfg"
    path.write_text(recipe.to_str(), encoding="utf-8")
    one, two = (trained(child, path, tmp_path / str(n), n) for n in (1, 2))
    weights = [load_file(output / "model.safetensors") for output in (one, two)]
    assert max(float((weights[0][n] - weights[1][n]).abs().max()) for n in weights[0]) < 1e-5
    figures = [
        json.loads((output / "run.json").read_text(encoding="utf-8"))["figures"] for output in (one, two)
    ]
    assert figures[0] == figures[1]
