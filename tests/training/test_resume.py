"""Runs that are killed or stopped at any moment, or shared between processes, and their results."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

TRAINING = {"epochs": 3, "eval_every": 15, "learning_rate": 3e-3, "eval_batch_size": 16}
STEPS = 60

CHILD = """
import json, os, sys

recipe, output, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
os.environ.update(options["environment"])
sys.stderr = open(options["messages"], "a", buffering=1)

from mmkit.errors import MMKitError
from mmkit.hooks import hookimpl
from mmkit.inference.together import Answering
from mmkit.recipe import load_recipe
from mmkit.training.train import train

class Signal:
    '''Sends a signal to this process, or to its whole group, at a moment of the run.'''

    made = answered = 0

    def at(self, moment):
        if moment == options["at"]:
            os.kill(0 if options["group"] else os.getpid(), options["number"])

    @hookimpl
    def mmkit_progress(self, label, done):
        self.at(f"{label} {done}")

    @hookimpl
    def mmkit_step(self, step):
        self.made, self.answered = step, 0
        self.at(f"step {step}")

    def batch(self):
        self.answered += 1
        self.at(f"batch {self.answered} after {self.made}")

    @hookimpl
    def mmkit_evaluated(self, split, step):
        self.at(f"{split} {step}")

    @hookimpl
    def mmkit_checkpoint(self, step, best):
        self.at(f"{'best' if best else 'saved'} {step}")

if options["group"]:
    os.setsid()
signal, answer = Signal(), Answering.__call__

def answering(self, batch, chosen):
    print("a batch is answered", file=sys.stderr)
    signal.batch()
    return answer(self, batch, chosen)

Answering.__call__ = answering
try:
    loaded = load_recipe(recipe, options["overrides"])
    train(loaded, output, resume=options["resume"], device="cpu", hooks=[signal])
except MMKitError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@dataclass
class Done:
    """How a process that trained has ended."""

    code: int
    messages: str


def run(
    recipe: Path,
    output: Path,
    *,
    resume: bool = False,
    number: int = 0,
    at: str = "",
    group: bool = False,
    processes: int = 1,
    overrides: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    **training: Any,
) -> Done:
    """Train in a process of its own, which sends itself signal `number` at the moment `at`."""
    messages = output.parent / "messages.txt"
    messages.unlink(missing_ok=True)
    options = {
        "overrides": {f"training.{k}": v for k, v in {**TRAINING, **training}.items()} | (overrides or {}),
        "environment": {
            "OMP_NUM_THREADS": "1",
            "MMKIT_CACHE": os.environ["MMKIT_CACHE"],
            **(environment or {}),
        },
        "messages": str(messages),
        "resume": resume,
        "number": number,
        "at": at,
        "group": group,
    }
    arguments = [str(recipe), str(output), json.dumps(options)]
    code = forked(arguments) if processes == 1 else launched(arguments, processes, output.parent)
    return Done(code, messages.read_text() if messages.exists() else "")


def forked(arguments: list[str]) -> int:
    """Run the child from a server that has imported torch already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["mmkit.training.train", "mmkit.encoders.transformer", "mmkit.encoders.timm_pooled"]
    )
    child = context.Process(target=exec, args=(f"import sys\nsys.argv[1:] = {arguments!r}\n{CHILD}", {}))
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def launched(arguments: list[str], processes: int, folder: Path) -> int:
    """Run children that torchrun starts together."""
    script = folder / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={processes}",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*torchrun, str(script), *arguments], env=environment, check=False).returncode


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model.safetensors")


def logged(output: Path) -> list[dict[str, Any]]:
    """The log, but for how fast the run was."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in x.items() if key != "examples_per_second"} for x in lines]


def scores(output: Path) -> list[dict[str, Any]]:
    return [line for line in logged(output) if line["split"] != "train"]


def assert_same(output: Path, whole: Path) -> None:
    """Weights, losses, scores and predictions are the uninterrupted run's, to the bit."""
    one, other = weights(output), weights(whole)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert logged(output) == logged(whole)
    for split in ("dev", "test"):
        file = Path("predictions") / f"{split}.jsonl"
        assert (output / file).read_bytes() == (whole / file).read_bytes()
    facts = [json.loads((folder / "run.json").read_text()) for folder in (output, whole)]
    for name in ("status", "best_epoch", "epochs", "updates", "figures", "data"):
        assert facts[0][name] == facts[1][name], name
    assert not (output / "checkpoint").exists()


@pytest.fixture(scope="module")
def whole(sample_recipe, tmp_path_factory) -> Path:
    """An uninterrupted run."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    done = run(sample_recipe, output)
    assert done.code == 0, done.messages
    return output


def improvements(output: Path) -> list[int]:
    """The updates after which the development score was the best so far."""
    best, steps = -1.0, []
    for line in scores(output):
        if line["split"] == "dev" and line["spans.f1"] > best:
            best = line["spans.f1"]
            steps.append(line["step"])
    return steps


def killed_and_resumed(recipe: Path, output: Path, at: str, **more: Any) -> None:
    killed = run(recipe, output, number=signal.SIGKILL, at=at, **more)
    assert killed.code == -signal.SIGKILL, killed.messages
    resumed = run(recipe, output, resume=True, **more)
    assert resumed.code == 0, resumed.messages


@pytest.mark.parametrize("checkpoint_every", [0, 4])
@pytest.mark.parametrize("step", [3, 27])
def test_a_run_killed_within_an_epoch_resumes_bit_for_bit(
    sample_recipe, whole, tmp_path, step, checkpoint_every
):
    killed_and_resumed(sample_recipe, tmp_path / "run", f"step {step}", checkpoint_every=checkpoint_every)
    assert_same(tmp_path / "run", whole)


def torchrun(folder: str, restart: int) -> dict[str, str]:
    """What torchrun gives a process: the name of a file in a folder that it has made, and how often it restarted."""
    file = f"/tmp/torchelastic_x/{folder}/attempt_{restart}/0/error.json"
    return {"TORCHELASTIC_ERROR_FILE": file, "TORCHELASTIC_RESTART_COUNT": str(restart)}


def test_a_run_that_torchrun_starts_again_goes_on_by_itself(sample_recipe, whole, tmp_path):
    output, kill = tmp_path / "run", {"number": signal.SIGKILL, "checkpoint_every": 4}
    first, again = torchrun("news_a", 0), torchrun("news_a", 1)
    killed = run(sample_recipe, output, environment=first, at="step 27", **kill)
    assert killed.code == -signal.SIGKILL, killed.messages
    for other in (torchrun("news_b", 0), torchrun("news_b", 1), {}):  # an older run is nobody else's
        refused = run(sample_recipe, output, environment=other, checkpoint_every=4)
        assert refused.code == 2 and "the output folder is not empty" in refused.messages
    killed = run(sample_recipe, output, environment=again, at="step 41", **kill)
    assert killed.code == -signal.SIGKILL, killed.messages
    resumed = run(sample_recipe, output, environment=torchrun("news_a", 2), checkpoint_every=4)
    assert resumed.code == 0, resumed.messages
    assert_same(output, whole)
    finished = run(sample_recipe, output, environment=again, checkpoint_every=4)
    assert finished.code == 0, "a process may end after the run is complete"
    assert_same(output, whole)
    refused = run(sample_recipe, output, environment=torchrun("news_b", 1), checkpoint_every=4)
    assert refused.code == 2 and "the output folder is not empty" in refused.messages


def test_a_run_that_went_on_from_another_resumes_bit_for_bit(sample_recipe, whole, tmp_path):
    start = {"training.init_from": str(whole)}
    assert run(sample_recipe, tmp_path / "all", overrides=start, epochs=1).code == 0
    killed_and_resumed(sample_recipe, tmp_path / "run", "step 17", overrides=start, epochs=1)
    assert_same(tmp_path / "run", tmp_path / "all")
    first, scratch = (
        next(line["loss"] for line in logged(folder) if line["split"] == "train")
        for folder in (tmp_path / "all", whole)
    )
    assert first < scratch / 2


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_run_killed_between_a_new_best_and_its_checkpoint_resumes(sample_recipe, whole, tmp_path, which):
    best = improvements(whole)
    assert len(best) > 2
    killed_and_resumed(sample_recipe, tmp_path / "run", f"best {best[which]}")
    assert_same(tmp_path / "run", whole)


def test_a_run_killed_while_it_is_tested_resumes(sample_recipe, whole, tmp_path):
    killed_and_resumed(sample_recipe, tmp_path / "run", f"test {improvements(whole)[-1]}")
    assert_same(tmp_path / "run", whole)


def test_a_run_killed_after_its_last_checkpoint_resumes(sample_recipe, whole, tmp_path):
    killed_and_resumed(sample_recipe, tmp_path / "run", f"saved {STEPS}")
    assert_same(tmp_path / "run", whole)


def test_a_run_killed_while_features_are_computed_resumes(sample_recipe, whole, tmp_path):
    own = {"MMKIT_CACHE": str(tmp_path / "cache")}
    killed_and_resumed(sample_recipe, tmp_path / "run", "features of vision 32", environment=own)
    assert_same(tmp_path / "run", whole)


def test_early_stopping_counts_on_after_a_kill(sample_recipe, tmp_path):
    waiting = {
        "patience": 3,
        "learning_rate": 0.0,
    }  # the scores at 30, 40 and 45 are no better than that at 15
    assert run(sample_recipe, tmp_path / "whole", **waiting).code == 0
    killed_and_resumed(sample_recipe, tmp_path / "run", "step 33", **waiting)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["status"], facts["updates"]) == ("stopped", 40)
    assert_same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_saves_says_how_to_go_on_and_does(sample_recipe, whole, tmp_path, number):
    output = tmp_path / "run"
    stopped = run(sample_recipe, output, number=number, at="step 19")
    assert stopped.code == 128 + number
    assert "everything is saved after update 19" in stopped.messages and "--resume" in stopped.messages
    assert [path.name for path in (output / "checkpoint").iterdir()] == ["step-000000019"]
    assert json.loads((output / "run.json").read_text())["status"] == "unfinished"
    resumed = run(sample_recipe, output, resume=True)
    assert resumed.code == 0, resumed.messages
    assert_same(output, whole)


def test_a_run_stopped_while_it_is_scored_stops_at_once_and_scores_when_it_goes_on(
    sample_recipe, whole, tmp_path
):
    output = tmp_path / "run"
    after_15 = "batch 2 after 15"
    for number, at in (
        (signal.SIGINT, after_15),
        (signal.SIGTERM, "batch 3 after 0"),  # the same evaluation, begun again
        (signal.SIGKILL, "batch 1 after 0"),
        (signal.SIGINT, "batch 1 after 20"),  # the end of an epoch
        (signal.SIGTERM, "batch 4 after 60"),  # the end
    ):
        stopped = run(sample_recipe, output, resume=at != after_15, number=number, at=at)
        assert stopped.code == (-number if number == signal.SIGKILL else 128 + number), stopped.messages
        answered = stopped.messages.rpartition("a batch is answered")
        if number != signal.SIGKILL:
            step = {"batch 1 after 20": 20, "batch 4 after 60": 60}.get(at, 15)
            assert f"everything is saved after update {step}; it is scored when" in answered[2]
        assert len(list((output / "checkpoint").iterdir())) == 1
    resumed = run(sample_recipe, output, resume=True)
    assert resumed.code == 0, resumed.messages
    assert_same(output, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_does_not_break_the_loader(sample_recipe, whole, tmp_path, number):
    output = tmp_path / "run"
    stopped = run(sample_recipe, output, number=number, at="step 19", group=True, workers=2)
    assert stopped.code == 128 + number, stopped.messages
    assert "everything is saved after update 19" in stopped.messages
    assert "Traceback" not in stopped.messages
    assert run(sample_recipe, output, resume=True).code == 0
    assert_same(output, whole)


@pytest.mark.matrix
def test_two_processes_make_the_updates_of_one(sample_recipe, tmp_path):
    # The loss does not depend on a key's bias: its gradient is rounding error, which Adam scales up to full steps.
    still = {"training.groups.still.pattern": r"key\.bias", "training.groups.still.learning_rate": 0.0}
    dropout = {f"model.{part}.dropout": 0.0 for part in ("encoders.text", "fuser", "decoder")}
    same = {"overrides": still | dropout, "batch_size": 14, "learning_rate": 1e-3, "eval_every": 0}
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(sample_recipe, one, **same).code == 0
    # stopped by a signal to one of them, after the next update at which they ask one another
    stopped = run(sample_recipe, two, processes=2, number=signal.SIGTERM, at="step 33", **same)
    assert stopped.code != 0 and "everything is saved after update 40" in stopped.messages
    # and while they score, by a signal to the second: hooks, which count updates, are called in the first alone
    again = {"resume": True, "number": signal.SIGTERM, "at": "batch 1 after 0"}
    stopped = run(sample_recipe, two, processes=2, **again, **same)
    assert stopped.code != 0 and "everything is saved after update 46; it is scored" in stopped.messages
    assert stopped.messages.count("a batch is answered") == 3, "two of the first process, one of the second"
    resumed = run(sample_recipe, two, processes=2, resume=True, **same)
    assert resumed.code == 0, resumed.messages
    of_one, of_two = weights(one), weights(two)
    assert max(float((of_one[name].float() - of_two[name].float()).abs().max()) for name in of_one) < 1e-5
    figures = [json.loads((output / "run.json").read_text())["figures"] for output in (one, two)]
    assert figures[0] == figures[1]
    assert figures[0]["test"]["spans.f1"] > 0.2
    assert (one / "predictions" / "test.jsonl").read_text().count("\n") == 81, (
        "every example once, and a header"
    )
    assert [line["id"] for line in predictions(one)] == [line["id"] for line in predictions(two)]


def predictions(output: Path) -> list[dict[str, Any]]:
    lines = (output / "predictions" / "test.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[1:]]


# -- more epochs ---------------------------------------------------------------------------------------------

CONSTANT = {"schedule": "constant", "warmup": 0.0}


def test_a_complete_run_goes_on_with_more_epochs_bit_for_bit(sample_recipe, tmp_path):
    assert run(sample_recipe, tmp_path / "whole", **CONSTANT, epochs=2).code == 0
    assert run(sample_recipe, tmp_path / "run", **CONSTANT, epochs=1, keep_checkpoint=True).code == 0
    first = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (first["status"], first["epochs"]) == ("completed", 1)
    killed = run(
        sample_recipe,
        tmp_path / "run",
        resume=True,
        number=signal.SIGKILL,
        at="step 33",
        **CONSTANT,
        epochs=2,
    )
    assert killed.code == -signal.SIGKILL, killed.messages
    assert run(sample_recipe, tmp_path / "run", resume=True, **CONSTANT, epochs=2).code == 0
    assert_same(tmp_path / "run", tmp_path / "whole")
    again = run(sample_recipe, tmp_path / "run", resume=True, **CONSTANT, epochs=3)
    assert again.code == 2
    assert "this run is complete, and its last checkpoint was not kept" in again.messages
    assert f"--training.init_from {tmp_path / 'run'}" in again.messages
