"""Two processes that spread encoders over one another train as two that each hold everything.

They import torch and train several times, so this runs only where it is asked for: `make matrix`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import mmkit
from mmkit.data.jsonl import read_jsonl

pytestmark = pytest.mark.matrix

CHILD = """
import json, os, signal, sys
from pathlib import Path

import torch

from mmkit.errors import Interrupted
from mmkit.hooks import hookimpl
from mmkit.inference.devices import end_processes
from mmkit.recipe import load_recipe
from mmkit.training.train import train

recipe, folder, runs = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])

class Stops:
    def __init__(self, name, at):
        self.name, self.at, self.notes = name, at, []

    @hookimpl
    def mmkit_step(self, step):
        if step == self.at:
            os.kill(os.getpid(), signal.SIGTERM)

    @hookimpl
    def mmkit_note(self, message):
        (folder / f"{self.name}.notes").open("a").write(message + "\\n")

for name, overrides, stop_at, then in runs:
    loaded = load_recipe(recipe, overrides)
    try:
        train(loaded, folder / name, device="cpu", hooks=[Stops(name, stop_at)])
    except Interrupted:
        assert then is not None
        loaded = load_recipe(recipe, {**overrides, **then})
        train(loaded, folder / name, resume=True, device="cpu", hooks=[Stops(name, 0)])
    else:
        assert not stop_at
end_processes()
"""

# The loss does not depend on a key's bias: its gradient is rounding error, which Adam scales up to full steps.
SAME: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 14,
    "learning_rate": 1e-3,
    "clip": 1.0,
    "eval_batch_size": 16,
    "groups.still.pattern": r"key\.bias",
    "groups.still.learning_rate": 0.0,
    "no_decay": "bias|LayerNorm",
}
SPREAD = {"training.shard": "encoders"}
WHOLE = {"training.shard": "no"}


def started(recipe: Path, folder: Path, runs: list[Any]) -> None:
    script = folder / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [*torchrun, str(script), str(recipe), str(folder), json.dumps(runs)]
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runs(sample_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs, by name: one after the other in the same two processes."""
    folder = tmp_path_factory.mktemp("runs")
    same = {f"training.{key}": value for key, value in SAME.items()}
    bf16 = {"training.precision": "bf16", "training.clip": 0.0}
    parts = {"training.accumulate": 2}
    started(
        sample_recipe,
        folder,
        [
            ("whole", same | WHOLE, 0, None),
            ("spread", same | SPREAD, 0, None),
            ("resumed", same | SPREAD, 17, {}),
            ("spread_then_whole", same | SPREAD, 17, WHOLE),
            ("whole_then_spread", same | WHOLE, 17, SPREAD),
            ("whole_bf16", same | WHOLE | bf16, 0, None),
            ("spread_bf16", same | SPREAD | bf16, 0, None),
            ("whole_in_parts", same | WHOLE | parts, 0, None),
            ("spread_in_parts", same | SPREAD | parts, 0, None),
        ],
    )
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def furthest(run: Path, other: Path) -> float:
    one, two = weights(run), weights(other)
    assert {name: (t.shape, t.dtype) for name, t in one.items()} == {
        name: (t.shape, t.dtype) for name, t in two.items()
    }
    return max(float((one[name].float() - two[name].float()).abs().max()) for name in one)


def spans(run: Path, split: str) -> list[tuple[mmkit.Span, ...]]:
    return [found.spans for found in read_jsonl(run / "predictions" / f"{split}.jsonl")]


def facts(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return {name: found[name] for name in ("status", "figures", "best_step", "updates")}


@pytest.mark.parametrize(
    ("run", "other"),
    [
        ("spread", "whole"),
        ("spread_then_whole", "whole"),
        ("whole_then_spread", "whole"),
        ("spread_in_parts", "whole_in_parts"),
    ],
)
def test_the_run_is_that_of_two_processes_that_hold_everything(runs, run, other):
    assert furthest(runs / run, runs / other) < 1e-5
    assert facts(runs / run) == facts(runs / other)
    assert facts(runs / run)["figures"]["test"]["spans.f1"] > 0.2
    for split in ("dev", "test"):
        one, two = (spans(runs / name, split) for name in (run, other))
        assert one == two and any(one)


def test_an_interrupted_run_goes_on_bit_for_bit(runs):
    one, two = weights(runs / "resumed"), weights(runs / "spread")
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert facts(runs / "resumed") == facts(runs / "spread")


def test_in_bf16_the_same_numbers_are_multiplied(runs):
    assert furthest(runs / "spread_bf16", runs / "whole_bf16") < 1e-3


def test_each_process_holds_a_part(runs):
    notes = (runs / "spread.notes").read_text(encoding="utf-8")
    found = re.search(r"this one holds ([\d,]+) of ([\d,]+) trained weights", notes)
    assert found is not None, notes
    own, every = (int(number.replace(",", "")) for number in found.groups())
    assert own < 0.6 * every


def test_one_process_predicts_with_the_run(runs):
    def found(run: Path) -> list[tuple[int, int, str]]:
        entities = mmkit.load(run).predict("Jordan is in Paris")["entities"]
        return [(entity["start"], entity["end"], entity["label"]) for entity in entities]

    assert found(runs / "spread") == found(runs / "whole") != []
