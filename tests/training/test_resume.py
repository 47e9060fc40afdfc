"""Runs that are killed, stopped, shared between processes, or fed a loss that is not finite."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

CHILD = """
import os, signal, sys
from mmkit.errors import MMKitError
from mmkit.hooks import hookimpl
from mmkit.recipe import load_recipe, parse_overrides
from mmkit.training.train import train

recipe, output, resume, number, at = sys.argv[1:6]
overrides = parse_overrides(sys.argv[6:])

class Signal:
    @hookimpl
    def mmkit_step(self, step):
        if step == int(at):
            os.kill(os.getpid(), int(number))

try:
    train(load_recipe(recipe, overrides), output, resume=resume == "resume", device="cpu", hooks=[Signal()])
except MMKitError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def run(recipe: Path, output: Path, *, resume=False, number=0, at=-1, processes=1, **overrides: object):
    """Train in a child process that sends itself signal `number` after update `at`."""
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        script = output.parent / "child.py"
        script.write_text(CHILD, encoding="utf-8")
        launch += [str(script)]
    else:
        launch += ["-c", CHILD]
    settings = [f"--training.{key}={value}" for key, value in overrides.items()]
    arguments = [str(recipe), str(output), "resume" if resume else "new", str(number), str(at), *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*launch, *arguments], capture_output=True, text=True, env=environment, check=False)


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(sample_recipe, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "whole"
    done = run(sample_recipe, output, eval_from=2)
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.parametrize("checkpoint_every", [0, 4])
def test_a_killed_run_resumes_bit_for_bit(sample_recipe, uninterrupted, tmp_path, checkpoint_every):
    output = tmp_path / "killed"
    kept = {"eval_from": 2, "checkpoint_every": checkpoint_every}
    killed = run(sample_recipe, output, number=signal.SIGKILL, at=22, **kept)  # in the middle of epoch 2
    assert killed.returncode == -signal.SIGKILL
    assert json.loads((output / "run.json").read_text())["status"] == "unfinished"
    resumed = run(sample_recipe, output, resume=True, **kept)
    assert resumed.returncode == 0, resumed.stderr
    whole = weights(uninterrupted)
    assert whole.keys() == weights(output).keys()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(output).items())

    def scores(folder: Path) -> list[dict]:
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [line for line in lines if line["split"] != "train"]

    assert scores(output) == scores(uninterrupted)
    predictions = [folder / "predictions" / "test.jsonl" for folder in (output, uninterrupted)]
    assert predictions[0].read_text() == predictions[1].read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_saves_says_how_to_go_on_and_does(sample_recipe, uninterrupted, tmp_path, number):
    output = tmp_path / "stopped"
    stopped = run(sample_recipe, output, number=number, at=19, eval_from=2)
    assert stopped.returncode == 128 + number
    assert "Traceback" not in stopped.stderr
    assert "everything is saved" in stopped.stderr and "--resume" in stopped.stderr
    assert len(list((output / "checkpoint").iterdir())) == 1
    resumed = run(sample_recipe, output, resume=True, eval_from=2)
    assert resumed.returncode == 0, resumed.stderr
    whole = weights(uninterrupted)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(output).items())


def test_two_processes_make_the_updates_of_one(sample_recipe, tmp_path):
    recipe = without_dropout(sample_recipe, tmp_path)
    # The loss does not depend on a key's bias: its gradient is rounding error, which Adam scales up to full steps.
    still = {"groups.still.pattern": r"key\.bias", "groups.still.learning_rate": 0.0}
    outputs = [tmp_path / "one", tmp_path / "two"]
    for processes, output in enumerate(outputs, start=1):
        done = run(recipe, output, processes=processes, batch_size=14, epochs=4, **still)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (weights(output) for output in outputs)
    assert max(float((one[name].float() - two[name].float()).abs().max()) for name in one) < 1e-5
    one, two = (json.loads((output / "run.json").read_text())["figures"] for output in outputs)
    assert one == two
    assert one["test"]["spans.f1"] > 0.2
    one, two = (
        [json.loads(line)["loss"] for line in (output / "metrics.jsonl").read_text().splitlines() if "loss" in line]
        for output in outputs
    )
    assert one == pytest.approx(two, rel=1e-4)


def without_dropout(recipe: Path, folder: Path) -> Path:
    """A copy of the recipe in which nothing is dropped: processes would draw different masks."""
    text = recipe.read_text().replace("dropout = 0.1", "dropout = 0.0")
    backbone = Path(next(line.split('"')[1] for line in text.splitlines() if line.startswith("name =")))
    shutil.copytree(backbone, folder / "text")
    config = json.loads((backbone / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "text" / "config.json").write_text(json.dumps(config))
    copy = folder / "plain.cfg"
    copy.write_text(text.replace(str(backbone), str(folder / "text")))
    return copy
