"""torchrun on two machines, and started again by itself after a process was killed.

Each start imports torch in several processes, so this runs only where it is asked for: `make matrix`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.matrix

CHILD = """
import json, os, signal, sys
from pathlib import Path

from mmkit.hooks import hookimpl
from mmkit.recipe import load_recipe
from mmkit.training.train import train

recipe, output, kill_at = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
again, rank = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), os.environ["RANK"]
said = Path(f"{output}.{rank}.{again}")
said.write_text(f"{os.getpid()}\\n")

class Kills:
    @hookimpl
    def mmkit_step(self, step):  # in the first process
        if step == kill_at and not again:
            other = Path(f"{output}.1.0").read_text()
            os.kill(int(other), signal.SIGKILL)

    @hookimpl
    def mmkit_note(self, message):
        with said.open("a") as file:
            file.write(message + "\\n")

settings = {"training.epochs": 2, "training.learning_rate": 3e-3, "training.checkpoint_every": 8}
train(load_recipe(recipe, settings), output, device="cpu", hooks=[Kills()])
"""


def torchrun(*options: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *options]


ONE_MACHINE = torchrun("--standalone", "--nproc-per-node=2", "--max-restarts=2")


def start(launcher: list[str], recipe: Path, output: Path, kill_at: int = 0) -> subprocess.Popen[str]:
    script = output.parent / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [*launcher, str(script), str(recipe), str(output), str(kill_at)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> None:
    _, messages = process.communicate(timeout=400)
    assert process.returncode == 0, messages


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model.safetensors")


def facts(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "run.json").read_text(encoding="utf-8"))
    return {name: found[name] for name in ("status", "figures", "best_step", "updates")}


def assert_same(output: Path, whole: Path) -> None:
    one, other = weights(output), weights(whole)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert facts(output) == facts(whole)


@pytest.fixture(scope="module")
def whole(sample_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes on one machine, without interruption."""
    output = tmp_path_factory.mktemp("whole") / "run"
    ended(start(ONE_MACHINE, sample_recipe, output))
    return output


def test_two_machines_train_as_two_processes_of_one(sample_recipe, whole, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = torchrun(
        "--nnodes=2",
        "--nproc-per-node=1",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint=127.0.0.1:{port}",
        "--rdzv-id=mmkit",
        "--local-addr=127.0.0.1",
    )
    agents = [start(launcher, sample_recipe, tmp_path / "run") for _ in range(2)]
    for agent in agents:
        ended(agent)
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize(
    ("kill_at", "goes_on"), [(3, "from the beginning"), (21, "from its last checkpoint")]
)
def test_after_a_killed_process_the_run_goes_on_by_itself(sample_recipe, whole, tmp_path, kill_at, goes_on):
    output = tmp_path / "run"
    ended(start(ONE_MACHINE, sample_recipe, output, kill_at))
    notes = Path(f"{output}.0.1").read_text(encoding="utf-8").splitlines()[1:]
    assert [
        note for note in notes if "torchrun has started all processes again (1 ×)" in note and goes_on in note
    ]
    assert not Path(f"{output}.0.2").exists(), "it started once more"
    assert_same(output, whole)
